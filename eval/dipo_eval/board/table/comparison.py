"""Two checkpoints on the same items: the paired difference, and the items whose verdict changed."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dipo_eval.board.data.load import Result
from dipo_eval.results.comparable import differences as settings_apart
from dipo_eval.results.comparable import refusal
from dipo_eval.statistics import Moments, paired_difference, paired_interval

Flips = dict[str, str]
"""Item id -> "lost" (right at the baseline, not now) or "gained" (the other way)."""


@dataclass(frozen=True)
class Difference:
    """Candidate minus baseline: shares in [-1, 1], a 95% interval, over `n_items` common items."""

    mean: float
    low: float
    high: float
    p_value: float
    n_items: int

    @property
    def verdict(self) -> str:
        """better, worse, or "not settled" where the interval holds 0."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "not settled"


def apart(candidate: Result, baseline: Result) -> str:
    """Why two results cannot be compared, in words (dipo_eval.results.comparable); empty where they can."""
    if candidate.made == baseline.made:
        return ""
    return refusal(settings_apart(candidate.made, baseline.made))


def difference(candidate: Result, baseline: Result) -> Difference | None:
    """The paired difference of per-item accuracy; None with fewer than two items in common, or where apart says why.

    Each item is one cluster: its samples are averaged first, so several samples of an item count once.
    """
    if apart(candidate, baseline):
        return None
    ours, theirs = candidate.item_scores, baseline.item_scores
    items = [item for item in ours if item in theirs]
    if len(items) < 2:
        return None
    paired = paired_difference(
        [ours[item] for item in items], [theirs[item] for item in items], clusters=items, confidence=0.95
    )
    return Difference(paired.mean, paired.low, paired.high, paired.p_value, len(items))


def differences_among(results: Sequence[Result]) -> dict[tuple[int, int], Difference]:
    """`difference` of every ordered pair of results, in one pass over arrays: what 2,450 pairs a suite need.

    Pairs with fewer than two items in common, and those that are apart, are left out.
    """
    items = {item: i for i, item in enumerate(dict.fromkeys(item for r in results for item in r.item_scores))}
    scores = np.full((len(results), len(items)), np.nan)
    for i, result in enumerate(results):
        scores[i, [items[item] for item in result.item_scores]] = list(result.item_scores.values())
    found: dict[tuple[int, int], Difference] = {}
    alike = functools.cache(lambda ours, theirs: not refusal(settings_apart(ours, theirs)))
    for i in range(len(results)):
        for j, shift in enumerate(_against_others(scores, i), start=i + 1):
            if shift is not None and alike(results[i].made, results[j].made):
                found[i, j] = shift
                found[j, i] = Difference(-shift.mean, -shift.high, -shift.low, shift.p_value, shift.n_items)
    return found


def _against_others(
    scores: np.ndarray[tuple[int, int], np.dtype[np.float64]], i: int
) -> list[Difference | None]:
    """Result i minus each later one: `difference` for many pairs."""
    shifts = scores[i] - scores[i + 1 :]  # [later, items]; NaN where either has not answered
    common = np.sum(~np.isnan(shifts), axis=1)
    n = np.maximum(common, 2).astype(np.float64)
    mean = np.nansum(shifts, axis=1) / n
    away = shifts - mean[:, None]
    squares, cubes, fourths = (np.nansum(away**power, axis=1) for power in (2, 3, 4))
    low, high, p_values = paired_interval(Moments(mean, squares, cubes, fourths, n))
    return [
        Difference(float(mean[k]), float(low[k]), float(high[k]), float(p_values[k]), int(common[k]))
        if common[k] >= 2
        else None
        for k in range(len(common))
    ]


def flips(candidate: Result, baseline: Result) -> Flips:
    """The items that are right in one and not in the other.

    An item is right when more than half of its samples are correct: with one sample, when that one is. None where the
    two are apart.
    """
    if apart(candidate, baseline):
        return {}
    ours, theirs = candidate.item_scores, baseline.item_scores
    changed: Flips = {}
    for item, score in ours.items():
        if item in theirs and is_right(score) != is_right(theirs[item]):
            changed[item] = "gained" if is_right(score) else "lost"
    return changed


def is_right(score: float) -> bool:
    """Whether an item counts as right, from the share of its samples that are correct."""
    return score > 0.5


def choose_baseline(results: Sequence[Result], wanted: str | None = None) -> tuple[str, str] | None:
    """The (run, checkpoint) that others are compared with.

    `wanted` is "checkpoint" or "run/checkpoint"; ValueError where no result has it. Without it: a checkpoint
    of step 0, or named base, or of a run so named, else the earliest step; None without results.
    """
    keys = list(dict.fromkeys(result.model_key for result in results))
    if wanted is not None:
        for run, checkpoint in keys:
            if wanted in (checkpoint, f"{run}/{checkpoint}"):
                return (run, checkpoint)
        known = ", ".join(f"{run}/{checkpoint}" for run, checkpoint in keys[:8]) or "none"
        raise ValueError(f"no checkpoint {wanted!r} in the results: choose one of {known}")
    if not results:
        return None
    return min(results, key=_baseline_rank).model_key


def _baseline_rank(result: Result) -> tuple[bool, bool, float]:
    named_base = bool({result.run.lower(), result.checkpoint.lower()} & {"base", "baseline", "initial"})
    return (not (named_base or result.step == 0), result.step is None, result.step or 0)
