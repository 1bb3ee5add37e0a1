"""Dr. GRPO: no division by the group's deviation, none by the response's length."""

from __future__ import annotations

import torch

from dipo_openrlhf.algorithm.advantages import group_advantages
from dipo_openrlhf.algorithm.method import Baseline, Rollout, spread_over_tokens


def dr_grpo_advantages(rewards: torch.Tensor) -> torch.Tensor:
    """A_i = r_i - mean(r), [P, G]; the loss divides by a constant, responses times the token limit.

    Source: "Understanding R1-Zero-Like Training", arXiv 2503.20783, section 3.2.
    """
    return group_advantages(rewards, "dr_grpo")


def _advantages(rollout: Rollout) -> torch.Tensor:
    return spread_over_tokens(dr_grpo_advantages(rollout.rewards), rollout.action_mask)


BASELINE = Baseline(
    name="dr_grpo",
    source="https://arxiv.org/abs/2503.20783",
    advantages=_advantages,
    clip_low=0.2,
    clip_high=0.2,
    reduction="constant",
    estimator="dr_grpo",
    is_openrlhfs=True,
)
