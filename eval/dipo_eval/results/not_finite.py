"""Values of a training step that are not finite: metrics.jsonl holds null for them, and beside it what they were.

JSON has neither NaN nor infinity, so a row holds `"policy_loss": null` and `"not_finite": {"policy_loss": "nan"}`.
Many values are null or NaN because there is nothing to measure (no threshold was found): only losses, gradients and
divergences are reported. A loss or gradient that is null was not a number, also in logs without `not_finite`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

KEY = "not_finite"
_NEVER_NULL = ("loss", "grad_norm")
_OF_AN_UPDATE = (*_NEVER_NULL, "kl")
_WORDS = {"nan": "NaN", "inf": "infinite", "-inf": "minus infinity"}
_SHOWN = 3  # steps and values that a sentence names


def kind(value: object) -> str | None:
    """nan, inf or -inf for such a float; None for everything else."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else None


def not_finite(row: Mapping[str, Any]) -> dict[str, str]:
    """Losses, gradients and divergences of one step that were not finite -> what they were, in a word."""
    stated = row.get(KEY)
    known = stated if isinstance(stated, dict) else {}
    found: dict[str, str] = {}
    for name, value in row.items():
        what = known.get(name) or kind(value)
        if what and _names(name, _OF_AN_UPDATE):
            found[name] = _WORDS.get(str(what), "not a number")
        elif value is None and _names(name, _NEVER_NULL):
            found[name] = "not a number"
    return found


def _names(name: str, parts: tuple[str, ...]) -> bool:
    last = name.rpartition("/")[2].lower()
    return any(part in last for part in parts)


def sentence(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """One line naming a run's losses that were not a number, with their steps; None where all were finite."""
    steps: dict[str, list[str]] = {}
    for row in rows:
        for name, word in not_finite(row).items():
            steps.setdefault(name, []).append(f"{row.get('step')} ({word})")
    if not steps:
        return None
    parts = [
        f"{name[:60]} at step {', '.join(at[:_SHOWN])}{f' and {len(at) - _SHOWN} more' if len(at) > _SHOWN else ''}"
        for name, at in list(steps.items())[:_SHOWN]
    ]
    rest = f" and {len(steps) - _SHOWN} more values" if len(steps) > _SHOWN else ""
    return (
        f"not a number: {'; '.join(parts)}{rest}: the model may be broken from the first of these steps on, so go back "
        "to a checkpoint before it"
    )
