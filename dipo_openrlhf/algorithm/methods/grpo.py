"""GRPO: advantages relative to the group, symmetric clip, mean over each response's tokens first."""

from __future__ import annotations

import torch

from dipo_openrlhf.algorithm.advantages import group_advantages
from dipo_openrlhf.algorithm.method import Baseline, Rollout, spread_over_tokens


def grpo_advantages(rewards: torch.Tensor) -> torch.Tensor:
    """A_i = (r_i - mean(r)) / (std(r) + eps), [P, G]; 0 in zero-variance groups.

    Source: DeepSeekMath, arXiv 2402.03300, section 4.1.2.
    """
    return group_advantages(rewards, "group_norm")


def _advantages(rollout: Rollout) -> torch.Tensor:
    return spread_over_tokens(grpo_advantages(rollout.rewards), rollout.action_mask)


BASELINE = Baseline(
    name="grpo",
    source="https://arxiv.org/abs/2402.03300",
    advantages=_advantages,
    clip_low=0.2,
    clip_high=0.2,
    reduction="response_mean",
    is_openrlhfs=True,
)
