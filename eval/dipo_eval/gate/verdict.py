"""The regression gate: is a candidate worse than a baseline, and can these samples show it?

A suite passes when the candidate is not worse than the baseline by more than the margin (non-inferiority: the lower
bound of the paired difference lies above -margin). It is a regression when the drop is significant (one-sided p-value,
Holm's correction over the suites, below 1 - confidence) and not shown to be within the margin. Otherwise the samples do
not decide: inconclusive. A lower point estimate alone never fails a gate.

With one sample an item on both sides bound and p-value are exact (statistics.paired_binary); with several they are
those of paired, clustered differences (Miller 2024, arXiv 2411.00640). Non-inferiority by the lower confidence bound:
Walker and Nowacki 2011, "Understanding Equivalence and Noninferiority Testing". That all suites must pass needs no
correction (intersection-union test: Berger 1982); that any may fail does (Holm 1979).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal

import numpy as np

from dipo_eval.results.comparable import Difference
from dipo_eval.statistics import drop_p_value, holm, lower_bound, minimum_detectable_effect, paired_difference
from dipo_eval.statistics.power import detectable_drop, items_for_margin

GateVerdict = Literal["pass", "regression", "inconclusive", "infrastructure"]
EXIT_CODES: dict[GateVerdict, int] = {"pass": 0, "regression": 1, "infrastructure": 2, "inconclusive": 3}
POWER = 0.8
SKEWED_ERRORS = ((100, 0.35), (400, 0.18), (math.inf, 0.08))
"""(fewer items than, largest simulated error of a test at 5%): benchmarks/skewed_errors.py."""

Scores = Mapping[str, Sequence[float]]
"""Item id -> the scores of its samples, each in [0, 1]."""


@dataclass(frozen=True)
class SuiteGate:
    """One suite's verdict. Differences are candidate minus baseline, shares in [-1, 1].

    low, high: one-sided bounds at `confidence` each, so that together they hold 2 * confidence - 1.
    p_drop: one-sided p-value against "not worse"; p_adjusted: after Holm. detectable: the smallest true drop that
    these samples find with 80% power. items_needed, samples_needed: items at this number of samples, or samples of each
    of these items, that would show non-inferiority with 80% power were there no difference; None where it is shown or no
    number is enough. carrying: how many items carry the difference, where items have several samples. differing:
    settings that were allowed to differ, and versions of packages that do.
    """

    suite: str
    verdict: GateVerdict
    reason: str
    margin: float
    n_items: int = 0
    samples: tuple[int, int] = (0, 0)
    candidate: float = math.nan
    baseline: float = math.nan
    mean: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p_drop: float = math.nan
    p_adjusted: float = math.nan
    detectable: float = math.nan
    items_needed: int | None = None
    samples_needed: int | None = None
    carrying: float = math.nan
    differing: tuple[Difference, ...] = ()


def infrastructure(suite: str, reason: str, margin: float) -> SuiteGate:
    """A suite that cannot be compared, and why."""
    return SuiteGate(suite, "infrastructure", reason, margin)


def compare_suite(
    suite: str, candidate: Scores, baseline: Scores, margin: float, confidence: float = 0.95
) -> SuiteGate:
    """The figures of one suite, its verdict not yet corrected for other suites (decide does that).

    Raises ValueError unless both have the same items, at least two, each with samples, and 0 < margin < 1.
    """
    _check(candidate, baseline, margin, confidence)
    items = list(candidate)
    a, b = (np.array([np.mean(of[item]) for item in items]) for of in (candidate, baseline))  # [n]
    ours, theirs, mean = (float(of.mean()) for of in (a, b, a - b))
    samples = (_samples(candidate), _samples(baseline))
    gate = SuiteGate(suite, "inconclusive", "", margin, len(items), samples, ours, theirs, mean)
    every = [scores for of in (candidate, baseline) for scores in of.values()]
    if all(len(scores) == 1 and scores[0] in (0, 1) for scores in every):
        return _exact(gate, int(np.sum(a < b)), int(np.sum(a > b)), confidence)
    sampling = [_sampling_variance(candidate[item]) + _sampling_variance(baseline[item]) for item in items]
    return _clustered(gate, a, b, float(np.mean(sampling)), confidence)


def _exact(gate: SuiteGate, lost: int, gained: int, confidence: float) -> SuiteGate:
    """The figures where every item has one sample, correct or not."""
    n, rate = gate.n_items, (lost + gained) / gate.n_items
    low, p_drop = lower_bound(lost, gained, n, confidence), drop_p_value(lost, gained, n)
    needed = None if low > -gate.margin else items_for_margin(gate.margin, rate, confidence, POWER)
    return replace(
        gate, low=low, high=-lower_bound(gained, lost, n, confidence), p_drop=p_drop, p_adjusted=p_drop,
        detectable=detectable_drop(n, rate, confidence, POWER), items_needed=needed,
    )  # fmt: skip


def _clustered(
    gate: SuiteGate, a: np.ndarray, b: np.ndarray, sampling: float, confidence: float
) -> SuiteGate:
    """The figures where items have several samples; `sampling` is the variance of an item's difference from sampling."""
    n = gate.n_items
    found = paired_difference(a, b, confidence=2 * confidence - 1)
    p_drop = found.p_value / 2 if found.mean < 0 else 1 - found.p_value / 2
    total = float(np.var(a - b, ddof=1))
    within = min(sampling, total)
    detectable = minimum_detectable_effect(
        n, item_variance=total, sample_variance=0.0, confidence=2 * confidence - 1, power=POWER
    )
    gate = replace(
        gate, low=found.low, high=found.high, p_drop=p_drop, p_adjusted=p_drop, detectable=detectable,
        carrying=found.carrying,
    )  # fmt: skip
    if found.low > -gate.margin:
        return gate
    z = NormalDist().inv_cdf(confidence) + NormalDist().inv_cdf(POWER)
    budget = (gate.margin / z) ** 2  # the variance of the mean at which the margin is shown
    room = n * budget - (total - within)
    return replace(
        gate,
        items_needed=math.ceil(total / budget),
        samples_needed=math.ceil(within * min(gate.samples) / room) if room > 0 else None,
    )


def decide(suites: Sequence[SuiteGate], confidence: float = 0.95) -> list[SuiteGate]:
    """The same suites with their verdicts, the p-values corrected for their number (Holm)."""
    compared = [gate for gate in suites if gate.verdict != "infrastructure"]
    adjusted = iter(holm([gate.p_drop for gate in compared]))
    return [
        gate if gate.verdict == "infrastructure" else _judge(gate, next(adjusted), 1 - confidence)
        for gate in suites
    ]


def few_carry(carrying: np.ndarray, n: int) -> np.ndarray:
    """Whether so few of n items carry a difference (statistics.carrying_items) that its stated error is uncertain."""
    return np.asarray(carrying < max(12, n / 4))


def overall(suites: Sequence[SuiteGate]) -> GateVerdict:
    """Infrastructure over regression over inconclusive over pass; no suite at all is infrastructure."""
    order: tuple[GateVerdict, ...] = ("infrastructure", "regression", "inconclusive", "pass")
    return min((gate.verdict for gate in suites), key=order.index, default="infrastructure")


def _judge(gate: SuiteGate, p_adjusted: float, alpha: float) -> SuiteGate:
    verdict: GateVerdict
    if gate.low > -gate.margin:
        drop = "; a real drop, but within the margin" if p_adjusted < alpha else ""
        verdict, reason = "pass", f"not worse by more than {gate.margin:.1%}{drop}{_limit(gate)}"
    elif p_adjusted < alpha:
        verdict, reason = "regression", f"worse by {-gate.mean:.1%}, and not by luck{_limit(gate)}"
    else:
        verdict, reason = "inconclusive", _what_would_decide(gate)
    return replace(gate, verdict=verdict, reason=reason, p_adjusted=p_adjusted)


def _limit(gate: SuiteGate) -> str:
    """A warning where few items carry the difference: the largest simulated error (docs/gate.md)."""
    if math.isnan(gate.carrying) or not few_carry(np.array(gate.carrying), gate.n_items):
        return ""
    error = next(error for items, error in SKEWED_ERRORS if gate.n_items < items)
    return (
        f"; but {gate.carrying:.0f} of {gate.n_items} items carry the difference: where others that change as much were "
        f"missed, a test at 5% errs in up to {error:.0%}"
    )


def _what_would_decide(gate: SuiteGate) -> str:
    more = f"{gate.items_needed} items" if gate.items_needed else "more items"
    if gate.samples_needed:
        more = f"{gate.samples_needed} samples of each item, or {more}"
    luck = f"drops below {gate.detectable:.1%} cannot be told from luck here"
    return f"{luck}; to show a margin of {gate.margin:.1%}: {more}"


def _sampling_variance(scores: Sequence[float]) -> float:
    """The variance of an item's mean from sampling, estimated from its samples; 0 for a single one."""
    return float(np.var(scores, ddof=1)) / len(scores) if len(scores) > 1 else 0.0


def _samples(scores: Scores) -> int:
    return min(len(values) for values in scores.values())


def _check(candidate: Scores, baseline: Scores, margin: float, confidence: float) -> None:
    if not 0 < margin < 1:
        raise ValueError(f"margin = {margin}: must lie in (0, 1); 0.01 is one point")
    if not 0.5 < confidence < 1:
        raise ValueError(f"confidence = {confidence}: must lie in (0.5, 1), for example 0.95")
    if candidate.keys() != baseline.keys():
        raise ValueError("candidate and baseline must have the same items")
    if len(candidate) < 2 or _samples(candidate) == 0 or _samples(baseline) == 0:
        raise ValueError("at least two items are needed, each with a sample")
