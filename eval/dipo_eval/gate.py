"""The regression gate: did a candidate get worse than a baseline, and could these samples have told?

A suite passes when the candidate is not worse than the baseline by more than the margin (non-inferiority: the lower
bound of the paired difference lies above -margin). It is a regression when the drop is real (one-sided p-value, Holm's
correction over the suites, below 1 - confidence) and not shown to be within the margin. Otherwise the samples do not
decide: inconclusive. A lower point estimate alone never fails a gate.

Sources: paired, clustered differences and power: Miller 2024, arXiv 2411.00640. Non-inferiority by the lower
confidence bound: Walker and Nowacki 2011, "Understanding Equivalence and Noninferiority Testing". That all suites must
pass needs no correction (intersection-union test: Berger 1982); that any may fail does (Holm 1979).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal

import numpy as np

from dipo_eval.comparable import Difference
from dipo_eval.statistics import holm, minimum_detectable_effect, paired_difference

GateVerdict = Literal["pass", "regression", "inconclusive", "infrastructure"]
EXIT_CODES: dict[GateVerdict, int] = {"pass": 0, "regression": 1, "infrastructure": 2, "inconclusive": 3}
POWER = 0.8

Scores = Mapping[str, Sequence[float]]
"""Item id -> the scores of its samples, each in [0, 1]."""


@dataclass(frozen=True)
class SuiteGate:
    """One suite's verdict. Differences are candidate minus baseline, shares in [-1, 1].

    low, high: bounds of the two-sided interval at 2 * confidence - 1, so each is a one-sided bound at `confidence`.
    p_drop: one-sided p-value against "not worse"; p_adjusted: after Holm. detectable: the smallest true drop that
    these samples find with 80% power. items_needed, samples_needed: items at this number of samples, or samples
    of each of these items, that would show non-inferiority with 80% power were there no difference; None where
    it is shown, or where no number of samples is enough. differing: settings that were allowed to differ, and
    versions of packages that do.
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
    a = np.array([np.mean(candidate[item]) for item in items])  # [n]
    b = np.array([np.mean(baseline[item]) for item in items])
    found = paired_difference(a, b, confidence=2 * confidence - 1)
    p_drop = found.p_value / 2 if found.mean < 0 else 1 - found.p_value / 2
    within, between = _variances(items, candidate, baseline, a - b)
    k = _samples(candidate), _samples(baseline)
    n = len(items)
    z = NormalDist().inv_cdf(confidence) + NormalDist().inv_cdf(POWER)
    gate = SuiteGate(
        suite,
        "inconclusive",
        "",
        margin,
        n,
        k,
        float(a.mean()),
        float(b.mean()),
        found.mean,
        found.low,
        found.high,
        p_drop,
        p_drop,
        minimum_detectable_effect(
            n, item_variance=between + within, sample_variance=0.0, confidence=2 * confidence - 1, power=POWER
        ),
    )
    if found.low > -margin:
        return gate
    budget = (margin / z) ** 2  # the variance of the mean at which the margin is shown
    room = n * budget - between
    return replace(
        gate,
        items_needed=math.ceil((between + within) / budget),
        samples_needed=math.ceil(within * min(k) / room) if room > 0 else None,
    )


def decide(suites: Sequence[SuiteGate], confidence: float = 0.95) -> list[SuiteGate]:
    """The same suites with their verdicts, the p-values corrected for their number (Holm)."""
    compared = [gate for gate in suites if gate.verdict != "infrastructure"]
    adjusted = dict(
        zip((g.suite for g in compared), holm([g.p_drop for g in compared]), strict=True) if compared else ()
    )
    return [
        gate if gate.verdict == "infrastructure" else _judge(gate, adjusted[gate.suite], 1 - confidence)
        for gate in suites
    ]


def overall(suites: Sequence[SuiteGate]) -> GateVerdict:
    """Infrastructure over regression over inconclusive over pass; no suite at all is infrastructure."""
    order: tuple[GateVerdict, ...] = ("infrastructure", "regression", "inconclusive", "pass")
    return min((gate.verdict for gate in suites), key=order.index, default="infrastructure")


def _judge(gate: SuiteGate, p_adjusted: float, alpha: float) -> SuiteGate:
    gate = replace(gate, p_adjusted=p_adjusted)
    shown = gate.low > -gate.margin
    if shown:
        drop = "; a real drop, but within the margin" if p_adjusted < alpha else ""
        return replace(gate, verdict="pass", reason=f"not worse by more than {gate.margin:.1%}{drop}")
    if p_adjusted < alpha:
        return replace(gate, verdict="regression", reason=f"worse by {-gate.mean:.1%}, and not by luck")
    return replace(gate, verdict="inconclusive", reason=_what_would_decide(gate))


def _what_would_decide(gate: SuiteGate) -> str:
    more = f"{gate.items_needed} items" if gate.items_needed else "more items"
    if gate.samples_needed:
        more = f"{gate.samples_needed} samples of each item, or {more}"
    luck = f"drops below {gate.detectable:.1%} cannot be told from luck here"
    return f"{luck}; to show a margin of {gate.margin:.1%}: {more}"


def _variances(
    items: Sequence[str], candidate: Scores, baseline: Scores, difference: np.ndarray
) -> tuple[float, float]:
    """(within, between): the variance of an item's difference from sampling, and from item to item.

    Within is estimated from the samples of an item (0 where there is one each: then all of it is between).
    """
    within = float(
        np.mean([_sampling_variance(candidate[item]) + _sampling_variance(baseline[item]) for item in items])
    )
    total = float(np.var(difference, ddof=1))
    within = min(within, total)
    return within, total - within


def _sampling_variance(scores: Sequence[float]) -> float:
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
