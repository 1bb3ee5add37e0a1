"""Rows into prompts: golds checked, each problem once, each id once. Not a data set.

docs/data.md has what is refused and what is dropped, in a published set and in a user's own file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from dipo_eval.errors import UserError, short_repr
from dipo_eval.suites.data_file import Record
from dipo_openrlhf.data.base import Dataset, Prompt, Question, Reward, UnsoundRowError
from dipo_openrlhf.data.golds import gold_problem, same_gold
from dipo_openrlhf.data.word_ngrams import key

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
