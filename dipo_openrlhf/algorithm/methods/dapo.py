"""DAPO: GRPO's advantages, a wider upper clip, a token-level loss, no KL, dynamic sampling.

A_i = (r_i - mean(r)) / std(r), arXiv 2503.14476, equation 9. Dynamic sampling, equation 11, keeps the groups with
0 < #correct < G; here those whose rewards differ. Overlong punishment, equation 13, is OpenRLHF's
`reward.overlong_buffer_len`.
"""

from __future__ import annotations

import torch

from dipo_openrlhf.algorithm.advantages import group_advantages, spread_over_tokens
from dipo_openrlhf.algorithm.method import Method, Rollout


def _advantages(rollout: Rollout) -> torch.Tensor:
    return spread_over_tokens(group_advantages(rollout.rewards_PG), rollout.action_mask_PGA)


METHOD = Method(
    name="dapo",
    source="https://arxiv.org/abs/2503.14476",
    advantages=_advantages,
    clip_low=0.2,
    clip_high=0.28,
    dynamic_sampling=True,
    uses_openrlhf_advantages=True,
)
