"""Labels that the project's own rewards could never find right: they would be graded 0 for the whole run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError, short_repr
from dipo_eval.grading import check_gold
from dipo_openrlhf.data.base import Reward
from dipo_openrlhf.data.golds import gold_problem
from dipo_openrlhf.preflight.rows import Row
from dipo_openrlhf.recipe.defaults import REWARDS
from dipo_openrlhf.rewards.math import gold_of

_GRADED = 200  # rows whose gold is given back as an answer, which takes a process for some
_KINDS: dict[str, Reward] = {"math": "math", "function_call": "function_call"}


def check_golds(rows: list[Row], reward_url: str | None, label_key: str | None) -> str:
    """A warning about some labels, empty where all can be right. Raises UserError where half of them cannot.

    Only for this project's rewards: what a reward of the user's own makes of a label, nobody else knows.
    """
    path = Path(reward_url or "")
    kind = _KINDS.get(path.stem) if path.parent == REWARDS else None
    if kind is None or not rows:
        return ""
    if not label_key:
        raise UserError(
            f"data.label_key: {label_key!r}: the reward {kind} compares answers with labels: name the rows' key for them"
        )
    first, wrong = "", 0
    tried: dict[tuple[bool, str], str] = {}  # labels repeat
    for number, (place, row) in enumerate(rows):
        graded, label = number < _GRADED, row[label_key]
        key = (graded, repr(label))
        if key not in tried:
            tried[key] = _problem(kind, label, graded)
        if problem := tried[key]:
            wrong += 1
            first = first or f"{place}: {label_key!r} (data.label_key): {problem}"
    if wrong * 2 >= len(rows):
        raise UserError(f"{first}; so it is with {wrong:,} of {len(rows):,} labels: no answer could be right")
    return (
        f"{first}; {wrong:,} of {len(rows):,} labels are such, and score 0 whatever is answered"
        if wrong
        else ""
    )


def _problem(kind: Reward, label: Any, graded: bool) -> str:
    if kind == "function_call":
        return (gold_problem(kind, label) or "") if graded else ""
    if any(isinstance(one, dict | list) for one in (label if isinstance(label, list) else [label])):
        return f"{short_repr(label, 60)} is no answer: name the key that holds it, as text"
    if isinstance(label, str) and "####" in label:
        return "is a whole solution, of GSM8K by its form; the answer is what follows ####: `dipo data` takes it out"
    if graded and isinstance(label, str):
        return gold_problem(kind, label) or ""
    try:
        check_gold(gold_of(label))
    except (UserError, ValueError) as error:
        return str(error)
    return ""
