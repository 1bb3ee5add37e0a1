"""CDE: a perplexity bonus in the reward, bounded by the reward, fading in a staircase. arXiv 2509.09675."""

from __future__ import annotations

import math

import torch

from dipo_openrlhf.algorithm.advantages import group_advantages, spread_over_tokens
from dipo_openrlhf.algorithm.method import Method, Rollout


def cde_rewards(
    rewards_PG: torch.Tensor,
    log_ppl_PG: torch.Tensor,
    weight: float = 1.0,
    kappa: float = 3.0,
    alpha: float = 1.0,
) -> torch.Tensor:
    """r + w_t * min(|r| / kappa, alpha * B), [P, G], with B the response's log-perplexity.

    Source: arXiv 2509.09675, actor-wise bonus. A response without a perplexity (NaN) gets no bonus. Raises ValueError
    for rewards other than -1 and +1: a reward of 0 would get no bonus, only correct answers would, which is another
    method.
    """
    if rewards_PG.shape != log_ppl_PG.shape:
        raise ValueError(
            f"cde: rewards {tuple(rewards_PG.shape)} and log_ppl {tuple(log_ppl_PG.shape)} differ"
        )
    r_PG = rewards_PG.detach().float()
    if not bool((r_PG.abs() == 1).all()):
        raise ValueError("cde: rewards must be -1 or +1; give it 2 * score - 1")
    bonus_PG = alpha * log_ppl_PG.detach().float().nan_to_num(nan=0.0)
    return r_PG + weight * torch.minimum(r_PG.abs() / kappa, bonus_PG)


def staircase(progress: float, stairs: int = 4) -> float:
    """w_t: from 1 down in `stairs` equal steps over training: 1, 3/4, 1/2, 1/4 for 4.

    progress: share of training done, in [0, 1]. The paper's schedule is a falling staircase; the number of stairs is
    this project's choice. Raises ValueError outside the ranges.
    """
    if not 0.0 <= progress <= 1.0 or stairs < 1:
        raise ValueError(f"cde: progress = {progress}, stairs = {stairs}: must lie in [0, 1] and be >= 1")
    return 1.0 - min(math.floor(progress * stairs), stairs - 1) / stairs


def _advantages(rollout: Rollout) -> torch.Tensor:
    signs_PG = 2.0 * rollout.correct_PG - 1.0
    rewards_PG = cde_rewards(signs_PG, rollout.log_ppl_PG, staircase(rollout.progress))
    return spread_over_tokens(group_advantages(rewards_PG), rollout.action_mask_PGA)


METHOD = Method(
    name="cde", source="https://arxiv.org/abs/2509.09675", advantages=_advantages, reads_correctness=True
)
