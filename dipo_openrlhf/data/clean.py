"""Rows into prompts: golds checked, each problem once, each id once. Not a data set.

docs/data.md has what is refused and what is dropped, in a published set and in a user's own file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from dipo_eval.errors import UserError, short_repr
from dipo_eval.grading import check_call_gold, check_gold, grade_math
from dipo_eval.grading.calls.bfcl import Language, language_of
from dipo_eval.grading.calls.native_forms import declared_type
from dipo_eval.suites.data_file import Record
from dipo_openrlhf.data.base import Dataset, Prompt, Question, Reward, UnsoundRowError
from dipo_openrlhf.data.word_ngrams import key
from dipo_openrlhf.environments.worker import environment_of, plain_label
from dipo_openrlhf.rewards import function_call, math

PROMPT = "The question stands here."
Placed = tuple[str, Prompt]  # "file:line" and the prompt made of it


@dataclass(frozen=True)
class Dropped:
    """A prompt that is not trained on. `why` is a word to count by, `met` what it met or its fault."""

    id: str
    where: str
    why: str
    met: str


@dataclass
class Cleaned:
    """What came of the rows: `read` = `repeats` + dropped + kept."""

    read: int = 0
    repeats: int = 0
    kept: list[Prompt] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)


def clean(
    dataset: Dataset, rows: Iterable[tuple[str, Record]], drop_bad: bool, advance: Callable[[int], None]
) -> Cleaned:
    """Sound prompts in the order of their rows. Raises UserError with the place, by docs/data.md."""
    found = Cleaned()
    problems: dict[str, list[Placed]] = {}
    seen: set[int] = set()
    for where, record in rows:
        found.read += 1
        advance(1)
        try:
            placed = where, _convert(dataset, record)
        except UnsoundRowError as error:
            _drop_or_raise(found, drop_bad, Dropped(str(record.get("id", "")), where, "unsound", str(error)))
            continue
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        identity = hash((repr(placed[1].question), placed[1].label))
        if identity in seen:
            found.repeats += 1
            continue
        seen.add(identity)
        problems.setdefault(question_key(placed[1].question), []).append(placed)
    _keep_one_each(dataset.reward, problems, drop_bad, found)
    return found


def question_key(question: Question) -> str:
    """Equal for questions that are the same problem."""
    if isinstance(question, str):
        return key(question)
    return "\n".join(f"{message['role']}: {key(message['content'])}" for message in question)


def _convert(dataset: Dataset, record: Record) -> Prompt:
    assert dataset.convert is not None
    prompt = dataset.convert(record)
    if isinstance(prompt.question, str) and not key(prompt.question):
        raise UnsoundRowError(f"the question {short_repr(prompt.question)} holds no words")
    return prompt


def _keep_one_each(reward: Reward, problems: dict[str, list[Placed]], drop_bad: bool, found: Cleaned) -> None:
    places: dict[str, str] = {}
    for group in problems.values():
        sound = []
        for where, prompt in group:
            problem = gold_problem(reward, prompt.label)
            if problem:
                _drop_or_raise(found, drop_bad, Dropped(prompt.id, where, "gold", problem))
            else:
                sound.append((where, prompt))
        if not sound or _in_conflict(reward, sound, drop_bad, found):
            continue
        first_where, first = sound[0]
        found.dropped += [
            Dropped(prompt.id, where, "duplicate", f"{first.id} ({first_where})")
            for where, prompt in sound[1:]
        ]
        if first.id in places:
            met = f"the id {first.id!r} is already that of another problem ({places[first.id]}); make ids unique"
            _drop_or_raise(found, drop_bad, Dropped(first.id, first_where, "id taken", met))
            continue
        places[first.id] = first_where
        found.kept.append(first)


def _in_conflict(reward: Reward, group: list[Placed], drop_bad: bool, found: Cleaned) -> bool:
    """Whether the golds of one question differ: then all its rows are dropped."""
    first_where, first = group[0]
    others = [placed for placed in group[1:] if not same_gold(reward, first.label, placed[1].label)]
    if not others:
        return False
    where, other = others[0]
    golds = [
        f"{short_repr(one.label, 40)} ({place})" for place, one in ((first_where, first), (where, other))
    ]
    met = f"the same question has the gold {' and '.join(golds)}"
    for place, prompt in group if drop_bad else [others[0]]:
        _drop_or_raise(found, drop_bad, Dropped(prompt.id, place, "two golds", met))
    return True


def _drop_or_raise(found: Cleaned, drop_bad: bool, dropped: Dropped) -> None:
    if not drop_bad:
        raise UserError(
            f"{dropped.where}: {dropped.met}; fix the row, or leave such rows out with --drop-bad"
        )
    found.dropped.append(dropped)


def gold_problem(reward: Reward, label: str) -> str | None:
    """Why a label cannot be trained on, or None: given back as an answer, its reward must score it 1, and its calls must
    keep to the functions on offer.

    Of a task of the tool agent, which no answer meets, only that it names an environment.
    """
    if reward == "tool_agent":
        try:
            environment_of(plain_label(label))
        except UserError as error:
            return str(error)
        return None
    function = math.reward_func if reward == "math" else function_call.reward_func
    try:
        if reward == "math":
            check_gold(math.gold_of(label))
        response = gold_response(reward, label)
        if reward == "function_call" and (problem := _off_schema(function_call.label_of(label))):
            return problem
    except (UserError, ValueError) as error:
        return str(error)
    if function([PROMPT + response], [PROMPT], [label])["scores"] == 1.0:
        return None
    return f"the gold {short_repr(label)} is not graded as correct when it is given back as the answer"


def gold_response(reward: Reward, label: str) -> str:
    """A response that is exactly what the label requires, in the form that its reward reads."""
    if reward == "math":
        gold = math.gold_of(label)
        answer = gold if isinstance(gold, str) else ", ".join(gold)
        return f"The answer is \\boxed{{{answer}}}."
    found = function_call.label_of(label)
    wanted: list[dict[str, Any]] = found["gold"]
    if category := found.get("category"):
        check_call_gold(wanted, found.get("functions", []), category)
        wanted = [] if "relevance" in category else [_as_called(call) for call in wanted]
    parts = ["<think> The calls stand below. </think>"]
    if wanted:
        calls = "\n".join(json.dumps(call, ensure_ascii=False) for call in wanted)
        parts.append(f"<tool_call>\n{calls}\n</tool_call>")
    if found.get("has_response", not wanted):
        parts.append("<response> It is done. </response>")
    return "\n".join(parts)


_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "float": (int, float), "number": (int, float), "boolean": (bool,),
    "array": (list, str), "dict": (dict, str), "object": (dict, str),
}  # fmt: skip
"""Of the values that a type may have; a text may stand for code where BFCL's golds have it."""


def _off_schema(label: dict[str, Any]) -> str | None:
    """A call in a gold of BFCL's form that a model which keeps to the functions on offer cannot make."""
    category, functions = label.get("category"), label.get("functions")
    if (
        not category
        or not functions
        or "relevance" in category
        or language_of(category) is not Language.PYTHON
    ):
        return None
    offered = {name: one for one in functions for name in (one["name"], one["name"].replace(".", "_"))}
    for call in label["gold"]:
        ((name, arguments),) = call.items()
        if name not in offered:
            return f"the gold calls {short_repr(name, 40)}, which is none of the functions on offer"
        parameters = offered[name].get("parameters")
        properties = parameters.get("properties") if isinstance(parameters, dict) else None
        schemas = properties if isinstance(properties, dict) else {}
        for argument, allowed in arguments.items():
            declared = declared_type(schemas.get(argument))
            if allowed and "" not in allowed and not any(_fits(one, declared) for one in allowed):
                return f"the gold gives {short_repr(allowed[0], 40)} for {name}'s {argument}, whose type is {declared}"
    return None


def _fits(value: Any, declared: str) -> bool:
    kinds = _KINDS.get(declared)
    return kinds is None or (isinstance(value, kinds) and isinstance(value, bool) == (kinds == (bool,)))


def _as_called(gold: dict[str, Any]) -> dict[str, Any]:
    """A call with the first values that BFCL's possible answers allow; what may be left out is."""
    ((name, arguments),) = gold.items()
    return {
        "name": name,
        "arguments": {key: one[0] for key, one in arguments.items() if one and "" not in one},
    }


def same_gold(reward: Reward, one: str, other: str) -> bool:
    """Whether two labels of one question require the same answer."""
    if one == other:
        return True
    if reward == "math":
        return grade_math(gold_response(reward, other), math.gold_of(one)).status == "correct"
    return bool(json.loads(one) == json.loads(other))
