"""What every training step logs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import torch

from dipo_openrlhf.algorithm.config import DipoConfig
from dipo_openrlhf.algorithm.threshold import Threshold

Metrics = dict[str, float | str]

IDLE_REASONS = ("reward_variance", "no_log_ppl", "infeasible", "wrong_space", "direction_off")


class Quadrant(Enum):
    """Correct or error, low or high perplexity against the threshold."""

    CL = "CL"
    CH = "CH"
    EL = "EL"
    EH = "EH"


@dataclass(frozen=True)
class StepView:
    """One training step as the metrics see it; all tensors on CPU.

    log_ppl[P, G] float64, NaN without action tokens; correct[P, G] bool; base, advantages_r[P, G].
    [P] bool: uniform (b all equal), eligible (uniform and equal rewards), in_space, fired.
    """

    log_ppl: torch.Tensor
    correct: torch.Tensor
    uniform: torch.Tensor
    eligible: torch.Tensor
    in_space: torch.Tensor
    fired: torch.Tensor
    base: torch.Tensor
    advantages_r: torch.Tensor


def step_metrics(view: StepView, threshold: Threshold, config: DipoConfig, queue_size: int) -> Metrics:
    """Metrics of one step, section 6 of the algorithm's description. Perplexities are in exp(nats per token).

    Hard and easy groups are the extreme groups by b alone, whatever shaping did to their rewards; every other is
    normal.
    Quadrants and quantiles are of the current batch; quadrants are shares that sum to 1. NaN means
    undefined (no threshold, no response of that kind); shares and rates of nothing are 0.
    `dipo/idle_REASON` counts groups with equal b that were not acted on, the first reason that applies:
    `reward_variance` (trains by its own rewards), `no_log_ppl` (fewer than two perplexities), `infeasible`
    (no threshold), `wrong_space`, `direction_off`.
    """
    hard = view.uniform & ~view.correct.any(1)
    easy = view.uniform & ~hard
    metrics: Metrics = {
        "dipo/threshold_ppl": _exp(threshold.value),
        "dipo/feasible": float(threshold.feasible),
        "dipo/infeasible_reason": "" if threshold.feasible else threshold.reason,
        "dipo/train_error": threshold.train_error,
        "dipo/delta_eis_lower": threshold.delta_eis_lower,
        "dipo/delta_ers_lower": threshold.delta_ers_lower,
        "dipo/queue_size": float(queue_size),
        "dipo/groups_hard": _count(hard),
        "dipo/groups_easy": _count(easy),
        "dipo/groups_normal": _count(~view.uniform),
        "dipo/hard_in_eis": _count(hard & view.in_space),
        "dipo/easy_in_ers": _count(easy & view.in_space),
        "dipo/fired_hard": _count(hard & view.fired),
        "dipo/fired_easy": _count(easy & view.fired),
        "dipo/fire_rate": _share(_count(view.fired), _count(view.uniform)),
        "dipo/fire_rate_hard": _share(_count(hard & view.fired), _count(hard)),
        "dipo/fire_rate_easy": _share(_count(easy & view.fired), _count(easy)),
    }
    metrics.update(_idle_counts(view, threshold, config))
    shares = quadrant_shares(view.log_ppl, view.correct, threshold.value)
    metrics.update({f"dipo/quadrant_{quadrant.value}": share for quadrant, share in shares.items()})
    for name, chosen in (("correct", view.correct), ("error", ~view.correct)):
        quantiles = ppl_quantiles(view.log_ppl[chosen])
        metrics.update({f"dipo/ppl_{name}_{key}": value for key, value in quantiles.items()})
    added, base = float(view.advantages_r.abs().sum()), float(view.base.abs().sum())
    metrics["dipo/adv_abs_share"] = _share(added, added + base)
    still = ((view.base + view.advantages_r) == 0).all(1)
    metrics["dipo/zero_gradient_share"] = _share(_count(still), float(still.numel()))
    return metrics


def quadrant_shares(
    log_ppl: torch.Tensor, correct: torch.Tensor, threshold: float | None
) -> dict[Quadrant, float]:
    """Share of the responses with a perplexity in each quadrant; low is p < threshold. NaN without a
    threshold.

    log_ppl, correct: the same shape; correct bool.
    """
    valid = ~torch.isnan(log_ppl)
    total = _count(valid)
    if threshold is None or total == 0:
        return dict.fromkeys(Quadrant, math.nan)
    low, high = valid & (log_ppl.double() < threshold), valid & (log_ppl.double() >= threshold)
    masks = {
        Quadrant.CL: correct & low,
        Quadrant.CH: correct & high,
        Quadrant.EL: ~correct & low,
        Quadrant.EH: ~correct & high,
    }
    return {quadrant: _count(mask) / total for quadrant, mask in masks.items()}


def ppl_quantiles(log_ppl: torch.Tensor) -> dict[str, float]:
    """Perplexity at the 10th, 50th and 90th percentile of log_ppl[N] (interpolated in log space); NaN if
    empty."""
    p = log_ppl[~torch.isnan(log_ppl)].double()
    if p.numel() == 0:
        return {"p10": math.nan, "p50": math.nan, "p90": math.nan}
    cuts = torch.quantile(p, torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)).exp()
    return {"p10": float(cuts[0]), "p50": float(cuts[1]), "p90": float(cuts[2])}


def _idle_counts(view: StepView, threshold: Threshold, config: DipoConfig) -> dict[str, float]:
    left = view.uniform & ~view.fired
    masks = (
        ~view.eligible,
        (~torch.isnan(view.log_ppl)).sum(1) < 2,
        torch.full_like(left, config.psd and threshold.value is None),
        ~view.in_space,
        torch.ones_like(left),
    )
    counts = {}
    for reason, mask in zip(IDLE_REASONS, masks, strict=True):
        counts[f"dipo/idle_{reason}"] = _count(left & mask)
        left = left & ~mask
    return counts


def _count(mask: torch.Tensor) -> float:
    return float(mask.sum())


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _exp(value: float | None) -> float:
    return math.nan if value is None else float(torch.tensor(value, dtype=torch.float64).exp())
