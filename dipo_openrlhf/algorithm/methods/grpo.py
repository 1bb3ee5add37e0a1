"""GRPO: advantages relative to the group, symmetric clip, mean over each response's tokens first.

A_i = (r_i - mean(r)) / (std(r) + eps); 0 in zero-variance groups. Source: DeepSeekMath, arXiv 2402.03300, section 4.1.2.
"""

from __future__ import annotations

import torch

from dipo_openrlhf.algorithm.advantages import group_advantages, spread_over_tokens
from dipo_openrlhf.algorithm.method import Method, Rollout


def _advantages(rollout: Rollout) -> torch.Tensor:
    return spread_over_tokens(group_advantages(rollout.rewards_PG), rollout.action_mask_PGA)


METHOD = Method(
    name="grpo",
    source="https://arxiv.org/abs/2402.03300",
    advantages=_advantages,
    reduction="response_mean",
    uses_openrlhf_advantages=True,
)
