"""Several methods over the same seeds and items, judged as the seeds come in: better, worse, equivalent or undecided.

Each pair's difference has the interval of crossed.py at each look of sequential.py. There are two families of tests,
each with Holm's correction over the pairs: that two methods do not differ (two-sided), and that they differ by the
margin or more (two one-sided tests: crossed.level_at). A pair's p-value is that of the sequential test, so a verdict
stays once it is reached, and Holm's correction holds at any look (Maurer and Bretz 2013, cited in sequential.py). So
over all pairs and looks "better" or "worse" is false with probability alpha at most, and "equivalent" with alpha / 2 at
most.

Sampling stops where all pairs are decided, or where none of the others is likely to be at the last look: its
conditional power under the current trend (Lan, Simon and Halperin 1982, "Stochastically curtailed tests in long-term
clinical trials", Communications in Statistics C 1:207) is below Plan.futility, from half of the budget on. Tests do not
rely on that rule, so it lowers their errors and, slightly, their power.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dipo_eval.statistics.crossed import Crossed, crossed_looks, half_width, level_at, score_table
from dipo_eval.statistics.outlook import chance_to_decide, seeds_to_decide
from dipo_eval.statistics.paired import holm_adjusted
from dipo_eval.statistics.plan import Plan
from dipo_eval.statistics.sequential import sequential_level

Array = NDArray[np.float64]
Verdict = Literal["better", "worse", "equivalent", "undecided"]
GIVE_UP_FROM = 0.5
"""Of the budget; before, a trend says too little."""


@dataclass(frozen=True)
class PairVerdict:
    """Method `a` against `b`: `a` is better, worse, equivalent, or undecided.

    `low` and `high` hold at all looks at once for this pair, `low_of_all` and `high_of_all` for all pairs too
    (Bonferroni); Holm's correction is finer, so a pair may be decided although the second interval contains 0. Both
    p-values are Holm's, over all looks. `within_margin`: shown to differ by less than the margin, whatever the verdict.
    `decided_at`: the seeds at which the verdict was reached. `chance`: of a decision by the end of the budget.
    `more_seeds`: how many would decide an undecided pair with the plan's power, both if the present difference is the
    true one; None where that is more than MOST_SEEDS in all, and then `needs_items` where no number of seeds would,
    since the items' part of the variance stays.
    """

    a: str
    b: str
    verdict: Verdict
    difference: float
    low: float
    high: float
    low_of_all: float
    high_of_all: float
    p_value: float
    p_equivalent: float
    within_margin: bool
    decided_at: int | None
    chance: float
    more_seeds: int | None
    needs_items: bool


@dataclass(frozen=True)
class MethodComparison:
    """All pairs at the last look taken (seeds 0: none yet), and whether sampling may stop; `reason` is one line."""

    pairs: tuple[PairVerdict, ...]
    seeds: int
    items: int
    stop: bool
    reason: str


@dataclass(frozen=True)
class Judged:
    """The tests at all looks so far, [looks, ..., pairs].

    `p_difference` and `p_equivalent` are Holm's, over the looks so far; `sign` is that of the difference at the look
    which gave p_difference; `level` and `equivalence_level` are those of an undecided pair's own test at the last look.
    """

    p_difference: Array
    p_equivalent: Array
    sign: Array
    level: Array
    equivalence_level: Array
    chance: Array
    decided: NDArray[np.bool_]
    stop: NDArray[np.bool_]  # [looks, ...]


def compare_methods(
    scores: Mapping[str, ArrayLike], plan: Plan, baseline: str | None = None
) -> MethodComparison:
    """Verdicts on all pairs of methods, or on the pairs with `baseline` alone, among which the errors are shared then.

    `scores`: [seeds, items] in [0, 1], the same seeds and items for every method. A look that needs more seeds
    is not taken, and seeds after the last look taken are not used. Raises ValueError for fewer than 2 methods, a baseline
    that is none of them, tables of different shapes, and those that crossed_mean refuses.
    """
    tables = {name: score_table(table, name, 0.0) for name, table in scores.items()}
    shapes = {table.shape for table in tables.values()}
    if len(tables) < 2 or len(shapes) > 1:
        raise ValueError(
            f"compare_methods: give 2 methods or more, all with the same seeds and items, got {shapes}"
        )
    seeds, items = shapes.pop()
    names = [pair for pair in itertools.combinations(tables, 2) if baseline is None or baseline in pair]
    if not names:
        raise ValueError(f"compare_methods: baseline {baseline!r} is none of {', '.join(tables)}")
    taken = [look for look in plan.looks if look <= seeds]
    if not taken:
        nothing = tuple(_nothing_known(a, b, float((tables[a] - tables[b]).mean())) for a, b in names)
        return MethodComparison(
            nothing, 0, items, False, f"{seeds} of {plan.looks[0]} seeds for the first look"
        )
    differences = np.stack([tables[a] - tables[b] for a, b in names])
    parts = crossed_looks(differences, taken)
    judged = judge(parts, plan)
    stop, reason = bool(judged.stop[-1]), _reason(judged, plan)
    return MethodComparison(_pair_verdicts(names, parts[-1], judged, plan), taken[-1], items, stop, reason)


def judge(parts: Sequence[Crossed], plan: Plan) -> Judged:
    """The tests at the plan's first len(parts) looks, for many comparisons at once: each of `parts` is [..., pairs]."""
    p_difference, at = _smallest_so_far(parts, plan, [np.abs(one.mean) for one in parts])
    sign = np.take_along_axis(np.sign(np.stack([one.mean for one in parts])), at, axis=0)
    p_difference, p_equivalent = holm_adjusted(p_difference), np.ones_like(p_difference)
    if plan.margin is not None:
        room = [plan.margin - np.abs(one.mean) for one in parts]
        p_equivalent = holm_adjusted(_smallest_so_far(parts, plan, room)[0])
    differs, equivalent = p_difference <= plan.alpha, p_equivalent <= plan.alpha
    decided = differs | equivalent
    last = plan.levels(decided.shape[-1])[-1]  # [pairs]: if alpha is shared by 1, 2, ... pairs
    level, equivalence_level = (
        last[np.maximum((~done).sum(axis=-1, keepdims=True), 1) - 1] for done in (differs, equivalent)
    )
    chance = np.stack([
        chance_to_decide(one, plan.budget, level[k], equivalence_level[k], plan.margin) for k, one in enumerate(parts)
    ])  # fmt: skip
    looks = np.array(plan.looks[: len(parts)]).reshape(-1, *[1] * (decided.ndim - 2))
    hopeless = (decided | (chance < plan.futility)).all(axis=-1) & (looks >= GIVE_UP_FROM * plan.budget)
    stop = decided.all(axis=-1) | hopeless | (looks == plan.budget)
    return Judged(p_difference, p_equivalent, sign, level, equivalence_level, chance, decided, stop)


def _smallest_so_far(
    parts: Sequence[Crossed], plan: Plan, distances: Sequence[Array]
) -> tuple[Array, NDArray[np.intp]]:
    """(sequential p-value at each look, [looks, ..., pairs]; the look that gave it)."""
    own = np.stack([level_at(one, distance) for one, distance in zip(parts, distances, strict=True)])
    each = sequential_level(own, plan.shares, plan.spending, plan.budget)
    smallest = np.minimum.accumulate(each, axis=0)
    index = np.arange(len(parts)).reshape(-1, *[1] * (each.ndim - 1))
    return smallest, np.maximum.accumulate(np.where(each <= smallest, index, 0), axis=0)


def _pair_verdicts(
    names: Sequence[tuple[str, str]], parts: Crossed, judged: Judged, plan: Plan
) -> tuple[PairVerdict, ...]:
    levels = plan.levels(len(names))[len(judged.stop) - 1]
    own, of_all = half_width(parts, levels[0]), half_width(parts, levels[-1])
    seeds, possible = seeds_to_decide(
        parts, judged.level[-1], judged.equivalence_level[-1], plan.margin, plan.power
    )
    found = []
    for i, (a, b) in enumerate(names):
        mean, decided = float(parts.mean[i]), bool(judged.decided[-1, i])
        within = bool(judged.p_equivalent[-1, i] <= plan.alpha)
        verdict: Verdict = "equivalent" if within else "undecided"
        if judged.p_difference[-1, i] <= plan.alpha:
            verdict = "better" if judged.sign[-1, i] > 0 else "worse"
        found.append(
            PairVerdict(
                a, b, verdict, mean,
                *_within_one(mean, float(own[i])), *_within_one(mean, float(of_all[i])),
                float(judged.p_difference[-1, i]), float(judged.p_equivalent[-1, i]), within,
                plan.looks[int(judged.decided[:, i].argmax())] if decided else None,
                1.0 if decided else float(judged.chance[-1, i]),
                None if decided or math.isinf(seeds[i]) else int(seeds[i]) - parts.seeds,
                not decided and not bool(possible[i]),
            )
        )  # fmt: skip
    return tuple(found)


def _within_one(mean: float, half: float) -> tuple[float, float]:
    return max(mean - half, -1.0), min(mean + half, 1.0)


def _nothing_known(a: str, b: str, difference: float) -> PairVerdict:
    return PairVerdict(
        a, b, "undecided", difference, -1, 1, -1, 1, 1.0, 1.0, False, None, math.nan, None, False
    )


def _reason(judged: Judged, plan: Plan) -> str:
    undecided = int((~judged.decided[-1]).sum())
    if undecided == 0:
        return "all pairs are decided"
    if len(judged.stop) == len(plan.looks):
        return f"the budget of {plan.budget} seeds is spent, {undecided} pairs are undecided"
    if judged.stop[-1]:
        return f"{undecided} pairs are undecided, and {plan.budget} seeds are unlikely to decide them"
    return f"{undecided} pairs are undecided"
