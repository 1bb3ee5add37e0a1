"""A method of one short file, which tests copy into dipo_openrlhf/algorithm/methods/: it sets every switch."""

import torch

from dipo_openrlhf.algorithm.advantages import group_advantages, spread_over_tokens
from dipo_openrlhf.algorithm.method import Method, Rollout


def _advantages(rollout: Rollout) -> torch.Tensor:
    base_PGA = spread_over_tokens(group_advantages(rollout.rewards_PG), rollout.action_mask_PGA)
    return base_PGA * (1 + rollout.entropy())


METHOD = Method(
    name="my_method",
    source="none: a test's",
    advantages=_advantages,
    clip_low=0.1,
    clip_high=0.3,
    reduction="constant",
    dynamic_sampling=True,
    needs_entropy=True,
)
