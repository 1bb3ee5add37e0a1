"""Group-relative advantages, which most methods start from."""

from __future__ import annotations

from typing import get_args

import torch

from dipo_openrlhf.algorithm.method import Estimator

# openrlhf/trainer/ppo_utils/experience_maker.py, RemoteExperienceMaker.compute_advantages_and_returns
STD_EPS = 1e-9


def zero_variance_groups(rewards_PG: torch.Tensor) -> torch.Tensor:
    """[P] bool: groups whose rewards are all equal, compared exactly and not by their computed deviation."""
    if rewards_PG.shape[1] == 0:
        return torch.ones(rewards_PG.shape[0], dtype=torch.bool, device=rewards_PG.device)
    return (rewards_PG == rewards_PG[:, :1]).all(1)


def group_advantages(rewards_PG: torch.Tensor, estimator: Estimator = "group_norm") -> torch.Tensor:
    """Advantages [P, G], at least float32, with exact zeros for zero-variance groups.

    group_norm: (r - mean) / (std + 1e-9), sample standard deviation; GRPO (arXiv 2402.03300, section 4.1.2), bit for
    bit as OpenRLHF 0.11.2 computes it where the variance is not zero. There a group of equal rewards such as 0.7,
    which floats do not represent exactly, can get |A| of about 0.9; here 0. dr_grpo: r - mean (arXiv 2503.20783,
    section 3.2). Raises ValueError for another shape, a reward that is not finite, or an unknown estimator.
    """
    _check_rewards(rewards_PG, "group_advantages")
    r_PG = rewards_PG.detach().to(torch.promote_types(rewards_PG.dtype, torch.float32))
    if estimator not in get_args(Estimator):
        raise ValueError(f"group_advantages: estimator {estimator!r}: must be group_norm or dr_grpo")
    zero_P = zero_variance_groups(r_PG)
    if r_PG.shape[0] == 0 or r_PG.shape[1] < 2:  # a group of one has no variance, and no sample deviation
        return torch.zeros_like(r_PG)
    advantages_PG = r_PG - r_PG.mean(-1, keepdim=True)
    if estimator == "group_norm":
        advantages_PG = advantages_PG / (r_PG.std(-1, keepdim=True) + STD_EPS)
    return advantages_PG.masked_fill(zero_P.unsqueeze(1), 0.0)


def spread_over_tokens(advantages_PG: torch.Tensor, action_mask_PGA: torch.Tensor) -> torch.Tensor:
    """[P, G, A]: each response's advantage on its action tokens, 0 elsewhere."""
    return advantages_PG.unsqueeze(-1) * (action_mask_PGA != 0)


def _check_rewards(rewards_PG: torch.Tensor, where: str) -> None:
    """Raises ValueError unless the rewards are finite numbers [P, G]."""
    if rewards_PG.dim() != 2:
        raise ValueError(f"{where}: rewards {tuple(rewards_PG.shape)} must be [P, G]")
    if rewards_PG.is_complex() or rewards_PG.dtype == torch.bool:
        raise ValueError(f"{where}: rewards must be numbers, got {rewards_PG.dtype}")
    if not bool(torch.isfinite(rewards_PG).all()):
        row, column = (~torch.isfinite(rewards_PG)).nonzero()[0].tolist()
        raise ValueError(
            f"{where}: rewards[{row}, {column}] = {float(rewards_PG[row, column])} is not finite; "
            "the reward function failed there"
        )
