"""DAPO: GRPO's advantages, a wider upper clip, a token-level loss, no KL, dynamic sampling."""

from __future__ import annotations

import torch

from dipo_openrlhf.algorithm.advantages import group_advantages, zero_variance_groups
from dipo_openrlhf.algorithm.method import Baseline, Rollout, spread_over_tokens


def dapo_advantages(rewards: torch.Tensor) -> torch.Tensor:
    """A_i = (r_i - mean(r)) / std(r), [P, G]; 0 in zero-variance groups.

    Source: arXiv 2503.14476, equation 9.
    """
    return group_advantages(rewards, "group_norm")


def kept_groups(rewards: torch.Tensor) -> torch.Tensor:
    """[P] bool: groups that dynamic sampling keeps, those whose rewards[P, G] differ.

    Source: arXiv 2503.14476, equation 11, 0 < #correct < G.
    """
    return ~zero_variance_groups(rewards)


def overlong_penalty(lengths: torch.Tensor, max_tokens: int, buffer: int) -> torch.Tensor:
    """Soft overlong punishment, in [-1, 0], of responses of lengths[...] tokens; to be added to the reward.

    0 up to max_tokens - buffer, then linear to -1 at max_tokens, -1 beyond.
    Source: arXiv 2503.14476, equation 13. Raises ValueError unless 0 < buffer <= max_tokens.
    """
    if not 0 < buffer <= max_tokens:
        raise ValueError(f"overlong_penalty: buffer = {buffer}: must lie in 1 .. max_tokens = {max_tokens}")
    return (((max_tokens - buffer) - lengths.float()) / buffer).clamp(min=-1.0, max=0.0)


def _advantages(rollout: Rollout) -> torch.Tensor:
    return spread_over_tokens(dapo_advantages(rollout.rewards), rollout.action_mask)


BASELINE = Baseline(
    name="dapo",
    source="https://arxiv.org/abs/2503.14476",
    advantages=_advantages,
    clip_low=0.2,
    clip_high=0.28,
    reduction="token_mean",
    dynamic_sampling=True,
    is_openrlhfs=True,
)
