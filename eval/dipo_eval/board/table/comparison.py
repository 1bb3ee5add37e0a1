"""Two checkpoints on the same items: the paired difference, and the items whose verdict changed."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dipo_eval.board import numbers
from dipo_eval.board.data.load import Result
from dipo_eval.printable import spelled
from dipo_eval.results.comparable import differences, refusal
from dipo_eval.statistics import Moments, paired_interval

Array = NDArray[np.float64]
Flips = dict[str, str]
"""Item id -> "lost" (solved at the baseline, not now) or "gained" (the other way)."""


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

    @property
    def points(self) -> str:
        """The mean in percentage points, such as +3.4."""
        return numbers.points(self.mean)

    @property
    def detail(self) -> str:
        """Interval and p-value, such as: +1.1 to +5.7, p = 0.004."""
        return f"{numbers.points(self.low)} to {numbers.points(self.high)}, {numbers.p_value(self.p_value)}"


def not_comparable(candidate: Result, baseline: Result) -> str:
    """Why two results cannot be compared (dipo_eval.results.comparable); empty where they can."""
    if candidate.made == baseline.made:
        return ""
    return refusal(differences(candidate.made, baseline.made))


def difference(candidate: Result, baseline: Result) -> Difference | None:
    """The paired difference of per-item accuracy; None with fewer than two common items or if not comparable.

    Each item is one cluster: its samples are averaged first.
    """
    return all_pairs([candidate, baseline]).get((0, 1))


def all_pairs(results: Sequence[Result]) -> dict[tuple[int, int], Difference]:
    """`difference` of every ordered pair of results that has one, over arrays: fast enough for 2,450 pairs a suite."""
    items = {item: i for i, item in enumerate(dict.fromkeys(item for r in results for item in r.item_scores))}
    scores = np.full((len(results), len(items)), np.nan)
    for i, result in enumerate(results):
        scores[i, [items[item] for item in result.item_scores]] = list(result.item_scores.values())
    found: dict[tuple[int, int], Difference] = {}
    alike = functools.cache(lambda ours, theirs: not refusal(differences(ours, theirs)))
    for i in range(len(results)):
        for j, shift in enumerate(_against_later(scores, i), start=i + 1):
            if shift is not None and alike(results[i].made, results[j].made):
                found[i, j] = shift
                found[j, i] = Difference(-shift.mean, -shift.high, -shift.low, shift.p_value, shift.n_items)
    return found


def _against_later(scores: Array, i: int) -> list[Difference | None]:
    """Result i minus each later one (statistics.paired_difference, for many pairs)."""
    shifts = scores[i] - scores[i + 1 :]  # [later, items]; NaN where either has not answered
    common = np.sum(~np.isnan(shifts), axis=1)
    n = np.maximum(common, 2).astype(np.float64)
    mean = np.nansum(shifts, axis=1) / n
    away = shifts - mean[:, None]
    squares, cubes, fourths = (np.nansum(away**power, axis=1) for power in (2, 3, 4))
    columns = (mean, *paired_interval(Moments(mean, squares, cubes, fourths, n)))
    figures = zip(*(column.tolist() for column in columns), common.tolist(), strict=True)
    return [Difference(*row) if row[-1] >= 2 else None for row in figures]


def flips(candidate: Result, baseline: Result) -> Flips:
    """The items that only one of the two solves; none where they are not comparable."""
    if not_comparable(candidate, baseline):
        return {}
    ours, theirs = candidate.item_scores, baseline.item_scores
    return {
        item: "gained" if is_solved(score) else "lost"
        for item, score in ours.items()
        if item in theirs and is_solved(score) != is_solved(theirs[item])
    }


def is_solved(score: float) -> bool:
    """Whether an item counts as solved: when more than half of its samples are correct."""
    return score > 0.5


def choose_baseline(results: Sequence[Result], wanted: str | None = None) -> tuple[str, str] | None:
    """The (run, checkpoint) that others are compared with.

    `wanted` is "checkpoint" or "run/checkpoint"; ValueError where no result has it. Without it: the checkpoint
    of step 0, or one or its run named base, else the earliest step; None without results.
    """
    keys = list(dict.fromkeys(result.model_key for result in results))
    if wanted is not None:
        for run, checkpoint in keys:
            if spelled(wanted) in (spelled(checkpoint), spelled(f"{run}/{checkpoint}")):
                return (run, checkpoint)
        known = ", ".join(f"{run}/{checkpoint}" for run, checkpoint in keys[:8]) or "none"
        raise ValueError(f"no checkpoint {wanted!r} in the results: choose one of {known}")
    return min(results, key=_baseline_rank).model_key if results else None


def _baseline_rank(result: Result) -> tuple[bool, bool, float]:
    named_base = bool({result.run.lower(), result.checkpoint.lower()} & {"base", "baseline", "initial"})
    return (not (named_base or result.step == 0), result.step is None, result.step or 0)
