"""What every training step logs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from dipo_openrlhf.algorithm.config import DipoConfig
from dipo_openrlhf.algorithm.threshold import Threshold

Metrics = dict[str, float | str]

IDLE_REASONS = ("reward_variance", "no_log_ppl", "infeasible", "wrong_space", "direction_off")


@dataclass(frozen=True)
class StepView:
    """One training step as the metrics see it; all tensors on CPU.

    log_ppl_PG: float64, NaN without action tokens. correct_PG, and all of shape [P]: bool. uniform_P: b all equal;
    eligible_P: uniform and equal rewards.
    """

    log_ppl_PG: torch.Tensor
    correct_PG: torch.Tensor
    uniform_P: torch.Tensor
    eligible_P: torch.Tensor
    in_space_P: torch.Tensor
    fired_P: torch.Tensor
    base_PG: torch.Tensor
    advantages_r_PG: torch.Tensor


def step_metrics(view: StepView, threshold: Threshold, config: DipoConfig, queue_size: int) -> Metrics:
    """The `dipo/*` metrics of one step; docs/metrics.md lists them. Perplexities are exp(nats per token).

    Hard and easy groups are the extreme groups by b alone, whatever shaping did to their rewards; every other is
    normal. Quadrants and quantiles are of the current batch; quadrants are shares that sum to 1. NaN means undefined
    (no threshold, no response of that kind); shares and rates of nothing are 0. `dipo/idle_REASON` counts groups with
    equal b that did not fire, the first reason that applies: `reward_variance` (trains by its own rewards),
    `no_log_ppl` (fewer than two perplexities), `infeasible` (no threshold), `wrong_space`, `direction_off`.
    """
    hard_P = view.uniform_P & ~view.correct_PG.any(1)
    easy_P = view.uniform_P & ~hard_P
    fired_hard, fired_easy = _count(hard_P & view.fired_P), _count(easy_P & view.fired_P)
    value = math.nan if threshold.value is None else threshold.value
    metrics: Metrics = {
        "threshold_ppl": float(torch.tensor(value, dtype=torch.float64).exp()),
        "feasible": float(threshold.feasible),
        "infeasible_reason": "" if threshold.feasible else threshold.reason,
        "train_error": threshold.train_error,
        "delta_eis_lower": threshold.delta_eis_lower,
        "delta_ers_lower": threshold.delta_ers_lower,
        "queue_size": float(queue_size),
        "groups_hard": _count(hard_P),
        "groups_easy": _count(easy_P),
        "groups_normal": _count(~view.uniform_P),
        "hard_in_eis": _count(hard_P & view.in_space_P),
        "easy_in_ers": _count(easy_P & view.in_space_P),
        "fired_hard": fired_hard,
        "fired_easy": fired_easy,
        "fire_rate": _share(_count(view.fired_P), _count(view.uniform_P)),
        "fire_rate_hard": _share(fired_hard, _count(hard_P)),
        "fire_rate_easy": _share(fired_easy, _count(easy_P)),
    }
    metrics |= _idle_counts(view, threshold, config)
    shares = quadrant_shares(view.log_ppl_PG, view.correct_PG, threshold.value)
    metrics |= {f"quadrant_{quadrant}": share for quadrant, share in shares.items()}
    for name, chosen_PG in (("correct", view.correct_PG), ("error", ~view.correct_PG)):
        quantiles = ppl_quantiles(view.log_ppl_PG[chosen_PG])
        metrics |= {f"ppl_{name}_{key}": ppl for key, ppl in quantiles.items()}
    added, base = float(view.advantages_r_PG.abs().sum()), float(view.base_PG.abs().sum())
    metrics["adv_abs_share"] = _share(added, added + base)
    still_P = ((view.base_PG + view.advantages_r_PG) == 0).all(1)
    metrics["zero_gradient_share"] = _share(_count(still_P), float(still_P.numel()))
    return {f"dipo/{key}": metric for key, metric in metrics.items()}


def quadrant_shares(
    log_ppl: torch.Tensor, correct: torch.Tensor, threshold: float | None
) -> dict[str, float]:
    """Shares of the responses with a perplexity that are correct or in error (C, E) with a low or high one (L, H).

    Low is p < threshold. log_ppl, correct: of one shape; correct bool. NaN without a threshold or a perplexity.
    """
    low, high = log_ppl.double() < (threshold or 0.0), log_ppl.double() >= (threshold or 0.0)
    masks = {"CL": correct & low, "CH": correct & high, "EL": ~correct & low, "EH": ~correct & high}
    total = _count(~torch.isnan(log_ppl))
    if threshold is None or total == 0:
        return dict.fromkeys(masks, math.nan)
    return {quadrant: _count(mask) / total for quadrant, mask in masks.items()}


def ppl_quantiles(log_ppl_N: torch.Tensor) -> dict[str, float]:
    """Perplexity at the 10th, 50th and 90th percentile, interpolated in log space; NaN if there is none."""
    p_N = log_ppl_N[~torch.isnan(log_ppl_N)].double()
    quantiles = {"p10": 0.1, "p50": 0.5, "p90": 0.9}
    if p_N.numel() == 0:
        return dict.fromkeys(quantiles, math.nan)
    cuts = torch.quantile(p_N, torch.tensor(list(quantiles.values()), dtype=torch.float64)).exp()
    return dict(zip(quantiles, cuts.tolist(), strict=True))


def _idle_counts(view: StepView, threshold: Threshold, config: DipoConfig) -> dict[str, float]:
    idle_P = view.uniform_P & ~view.fired_P
    masks = (
        ~view.eligible_P,
        (~torch.isnan(view.log_ppl_PG)).sum(1) < 2,
        torch.full_like(idle_P, config.psd and threshold.value is None),
        ~view.in_space_P,
        torch.ones_like(idle_P),
    )
    counts = {}
    for reason, mask_P in zip(IDLE_REASONS, masks, strict=True):
        counts[f"idle_{reason}"] = _count(idle_P & mask_P)
        idle_P = idle_P & ~mask_P
    return counts


def _count(mask: torch.Tensor) -> float:
    return float(mask.sum())


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
