"""What a reward function may return: judged alike on a few rows before a run and in its engines.

preflight/reward.py and openrlhf_patch/reward_results.py use it; every text continues "it returned ...".
"""

from __future__ import annotations

import math
from typing import Any

from dipo_eval.errors import short_repr
from dipo_openrlhf.algorithm.config import CorrectFrom

_WANTED = 'give {"rewards": number, "scores": 0 or 1, "extra_logs": {...}}'


def number_of(value: Any) -> float | None:
    """A number, that of a tensor or the only one of a list; infinite beyond all floats; None for anything else."""
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError, RuntimeError):  # the last: a tensor of several numbers
        return None


def no_dict(kind: str) -> str:
    """Of a value of another type, by the type's name."""
    return f"a {kind}: {_WANTED}"


def problem_of(returned: Any) -> str:
    """What training cannot use of it; empty where there is nothing."""
    if not isinstance(returned, dict):
        return no_dict(type(returned).__name__)
    if "rewards" not in returned:
        return f"no 'rewards', but {', '.join(map(repr, returned)) or 'nothing'}: {_WANTED}"[:400]
    for key in ("rewards", "scores"):
        if key == "scores" and returned.get(key) is None:
            continue
        number = number_of(returned[key])
        if number is None:
            return f"{short_repr(returned[key], 60)} as {key!r}: {_WANTED}"
        if not math.isfinite(number):
            return f"{number} as {key!r}, which would make the update nan"
    logs = returned.get("extra_logs") or {}
    if not isinstance(logs, dict):
        return "no dict as 'extra_logs'"
    bad = next((key for key, one in logs.items() if number_of(one) is None), None)
    return (
        f"{short_repr(logs[bad], 60)} as extra_logs[{bad!r}], which must be a number"
        if bad is not None
        else ""
    )


def scale_problem(returned: dict[str, Any], correct_from: CorrectFrom) -> str:
    """Of scores that do not tell correct from incorrect (algorithm/correctness.py); empty where they do."""
    key = "scores" if returned.get("scores") is not None else "rewards"
    score, logs = number_of(returned[key]), returned.get("extra_logs") or {}
    if correct_from == "reward_max":
        return (
            "no 'reward_max' in extra_logs, which dipo.correct_from names" if "reward_max" not in logs else ""
        )
    if score is not None and not 0 <= score <= 1:
        return (
            f"{score:g} as {key!r}, and from 0.5 to 1 is correct: give 'scores' 0 or 1 beside the rewards, or "
            "'reward_max' in extra_logs and dipo.correct_from: reward_max"
        )
    return ""


def key_problem(first: dict[str, Any], place: str, returned: dict[str, Any]) -> str:
    """Of keys that only some samples have: their tensors would be shorter than the batch. `place`: of the first."""
    for name, one, other in (
        ("extra_logs", set(first.get("extra_logs") or {}), set(returned.get("extra_logs") or {})),
        ("a result", _given(first), _given(returned)),
    ):
        if odd := sorted(one ^ other):
            return f"{name} whose keys differ from those for {place} ({', '.join(odd)}): return the same keys each time"
    return ""


def _given(returned: dict[str, Any]) -> set[str]:
    return {key for key, value in returned.items() if value is not None}
