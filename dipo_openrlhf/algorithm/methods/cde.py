"""CDE: a perplexity bonus in the reward, bounded by the reward, fading in a staircase."""

from __future__ import annotations

import math

import torch

from dipo_openrlhf.algorithm.advantages import group_advantages
from dipo_openrlhf.algorithm.method import Baseline, Rollout, spread_over_tokens


def cde_rewards(
    rewards: torch.Tensor,
    log_ppl: torch.Tensor,
    weight: float = 1.0,
    kappa: float = 3.0,
    alpha: float = 1.0,
) -> torch.Tensor:
    """r + w_t * min(|r| / kappa, alpha * B), [P, G], with B the response's log-perplexity.

    Source: arXiv 2509.09675, actor-wise bonus. A response without a perplexity (NaN) gets no bonus.
    Raises ValueError for rewards other than -1 and +1: a reward of 0 would get no bonus, only right answers
    would, which is another method.
    """
    if rewards.shape != log_ppl.shape:
        raise ValueError(f"cde: rewards {tuple(rewards.shape)} and log_ppl {tuple(log_ppl.shape)} differ")
    r = rewards.detach().float()
    if not bool((r.abs() == 1).all()):
        raise ValueError("cde: rewards must be -1 or +1; give it 2 * score - 1")
    bonus = torch.minimum(r.abs() / kappa, alpha * log_ppl.detach().float().nan_to_num(nan=0.0))
    return r + weight * bonus


def staircase(progress: float, stairs: int = 4) -> float:
    """w_t: from 1 down in `stairs` equal steps over training: 1, 3/4, 1/2, 1/4 for 4.

    progress: share of training done, in [0, 1]. The paper's schedule is a falling staircase; the number of
    stairs is this project's choice. Raises ValueError outside the ranges.
    """
    if not 0.0 <= progress <= 1.0 or stairs < 1:
        raise ValueError(f"cde: progress = {progress}, stairs = {stairs}: must lie in [0, 1] and be >= 1")
    return 1.0 - min(math.floor(progress * stairs), stairs - 1) / stairs


def cde_advantages(rewards: torch.Tensor, log_ppl: torch.Tensor, weight: float = 1.0) -> torch.Tensor:
    """Group-normalised advantages[P, G] of the rewards with their bonus."""
    return group_advantages(cde_rewards(rewards, log_ppl, weight))


def _advantages(rollout: Rollout) -> torch.Tensor:
    rewards = 2.0 * rollout.correct - 1.0
    advantages = cde_advantages(rewards, rollout.log_ppl, staircase(rollout.progress))
    return spread_over_tokens(advantages, rollout.action_mask)


BASELINE = Baseline(
    name="cde",
    source="https://arxiv.org/abs/2509.09675",
    advantages=_advantages,
    clip_low=0.2,
    clip_high=0.2,
    reduction="token_mean",
    from_correctness=True,
)
