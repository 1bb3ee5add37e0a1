"""Perplexity space disentangling: the threshold between the exploitation and the exploration space."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

import torch

from dipo_openrlhf.algorithm.config import Interval
from dipo_openrlhf.algorithm.interval import cluster_lower, normal_quantile, wald_lower, wilson_lower
from dipo_openrlhf.algorithm.perplexity_queue import check_pairs

OK = "ok"
EMPTY = "empty"  # no pair with a perplexity
ONE_CLASS = "one_class"  # all correct or all incorrect
CONSTANT = "constant_log_ppl"  # all perplexities equal: no candidate
TOO_FEW = "too_few_samples"  # no candidate leaves min_side_samples on both sides
NOT_SIGNIFICANT = "not_significant"  # candidates, but none with both lower bounds above 0
REASONS = (OK, EMPTY, ONE_CLASS, CONSTANT, TOO_FEW, NOT_SIGNIFICANT)


@dataclass(frozen=True)
class Threshold:
    """The outcome of `find_threshold`.

    value: log-perplexity in nats per token; None when no threshold passes.
    feasible: whether one passed. reason: one of REASONS, "ok" when feasible.
    train_error: share of the pairs on the wrong side, in [0, 1].
    delta_eis_lower, delta_ers_lower: lower bounds of both advantages, in [-1, 1] (-inf for one cluster).
    The last three describe `value`; when infeasible, the candidate of least error among those with enough samples, to
    show what was missing, and NaN without any.
    """

    value: float | None
    feasible: bool
    reason: str
    train_error: float = math.nan
    delta_eis_lower: float = math.nan
    delta_ers_lower: float = math.nan


def find_threshold(
    log_ppl_N: torch.Tensor,
    correct_N: torch.Tensor,
    *,
    confidence: float = 0.95,
    interval: Interval = "wilson",
    min_side_samples: int = 30,
    group: torch.Tensor | None = None,
) -> Threshold:
    """argmin_tau (1/N) sum_k |b_k - 1(p_k < tau)| among the thresholds that are significant on both sides.

    Source: arXiv 2604.13902, perplexity space disentangling. Candidates are the midpoints between consecutive distinct
    p. A candidate passes when each side has `min_side_samples` pairs and the two-sided interval's lower bound of both
    2 Pr(b=1 | p<tau) - 1 and 2 Pr(b=0 | p>tau) - 1 is above 0. Of equal errors the smallest tau. Exact; one sort and
    prefix sums, O(N log N) time and O(N) memory.

    log_ppl_N: nats per token; pairs with NaN are dropped. correct_N: 0 or 1. group: ids of prompt groups, needed by
    interval "cluster" alone. Raises ValueError for wrong shapes, an infinite log_ppl, a correct not 0 or 1, or a bad
    option.
    """
    _check_options(log_ppl_N, correct_N, group, interval, min_side_samples)
    z = normal_quantile(confidence)
    p_N, b_N = check_pairs(log_ppl_N, correct_N, "find_threshold")
    keep_N = ~torch.isnan(p_N)
    p_N, order_N = torch.sort(p_N[keep_N])
    b_N = b_N[keep_N][order_N].double()
    n = p_N.numel()
    wins = float(b_N.sum())
    if n == 0:
        return Threshold(None, False, EMPTY)
    if wins in (0.0, float(n)):
        return Threshold(None, False, ONE_CLASS)

    cut = (p_N[1:] > p_N[:-1]).nonzero().squeeze(1) + 1  # pairs left of each candidate, ascending
    if cut.numel() == 0:
        return Threshold(None, False, CONSTANT)
    cut = cut[(cut >= min_side_samples) & (n - cut >= min_side_samples)]
    if cut.numel() == 0:
        return Threshold(None, False, TOO_FEW)

    won = torch.cumsum(b_N, 0)[cut - 1]  # b=1 with p < tau
    error = (cut - won) + (wins - won)  # b=0 below plus b=1 above: exact integers in float64
    if interval == "cluster" and group is not None:
        left_N, right_N = cluster_lower(b_N, group.detach().cpu()[keep_N][order_N], z)
        eis, ers = left_N[cut - 1], right_N[cut]
    else:
        lower = wald_lower if interval == "wald" else wilson_lower
        eis = lower(won, cut.double(), z)
        ers = lower((n - cut) - (wins - won), (n - cut).double(), z)
    delta_eis, delta_ers = 2 * eis - 1, 2 * ers - 1

    passing = (delta_eis > 0) & (delta_ers > 0)
    feasible = bool(passing.any())
    objective = torch.where(passing, error, torch.inf) if feasible else error
    best = int(torch.argmin(objective))  # the first of equals: the smallest tau
    return Threshold(
        value=_midpoint(p_N, int(cut[best])) if feasible else None,
        feasible=feasible,
        reason=OK if feasible else NOT_SIGNIFICANT,
        train_error=float(error[best]) / n,
        delta_eis_lower=float(delta_eis[best]),
        delta_ers_lower=float(delta_ers[best]),
    )


def _midpoint(p_N: torch.Tensor, cut: int) -> float:
    low, high = float(p_N[cut - 1]), float(p_N[cut])
    middle = low / 2 + high / 2  # no overflow
    # between neighbouring floats the midpoint rounds to one of them; `high` keeps low < tau <= high
    return middle if low < middle <= high else high


def _check_options(
    log_ppl_N: torch.Tensor,
    correct_N: torch.Tensor,
    group: torch.Tensor | None,
    interval: str,
    min_side_samples: int,
) -> None:
    if log_ppl_N.dim() != 1 or log_ppl_N.shape != correct_N.shape:
        raise ValueError(
            f"find_threshold: log_ppl {tuple(log_ppl_N.shape)} and correct {tuple(correct_N.shape)} must be [N]"
        )
    if interval not in get_args(Interval):
        allowed = ", ".join(get_args(Interval))
        raise ValueError(f"find_threshold: interval {interval!r}: must be one of {allowed}")
    if isinstance(min_side_samples, bool) or not isinstance(min_side_samples, int) or min_side_samples < 1:
        raise ValueError(f"find_threshold: min_side_samples = {min_side_samples!r}: must be an integer >= 1")
    if interval == "cluster" and group is None:
        raise ValueError("find_threshold: interval 'cluster' needs group, the prompt group of each pair")
    if group is not None and group.shape != log_ppl_N.shape:
        raise ValueError(f"find_threshold: group {tuple(group.shape)} must be [N] like log_ppl")
