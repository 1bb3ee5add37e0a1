"""Dr. GRPO: no division by the group's deviation, none by the response's length.

A_i = r_i - mean(r); the loss divides by a constant, responses times the token limit. Source: "Understanding R1-Zero-Like
Training", arXiv 2503.20783, section 3.2.
"""

from __future__ import annotations

import torch

from dipo_openrlhf.algorithm.advantages import group_advantages, spread_over_tokens
from dipo_openrlhf.algorithm.method import Method, Rollout


def _advantages(rollout: Rollout) -> torch.Tensor:
    return spread_over_tokens(group_advantages(rollout.rewards_PG, "dr_grpo"), rollout.action_mask_PGA)


METHOD = Method(
    name="dr_grpo",
    source="https://arxiv.org/abs/2503.20783",
    advantages=_advantages,
    reduction="constant",
    estimator="dr_grpo",
    uses_openrlhf_advantages=True,
)
