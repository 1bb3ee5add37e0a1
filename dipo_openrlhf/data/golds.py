"""The gold of a row: whether its reward can be met, and a response that meets it. Not a data set."""

from __future__ import annotations

import json
from typing import Any

from dipo_eval.errors import UserError, short_repr
from dipo_eval.grading import check_call_gold, check_gold, grade_math
from dipo_eval.grading.calls.bfcl import Language, language_of
from dipo_eval.grading.calls.native_forms import declared_type
from dipo_openrlhf.data.base import Reward
from dipo_openrlhf.environments.worker import environment_of, plain_label
from dipo_openrlhf.rewards import function_call, math

PROMPT = "The question stands here."


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
