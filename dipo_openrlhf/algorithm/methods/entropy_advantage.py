"""Entropy-shaped advantages: uncertain tokens count more, never enough to turn a sign."""

from __future__ import annotations

import torch

from dipo_openrlhf.algorithm.advantages import group_advantages
from dipo_openrlhf.algorithm.method import Baseline, Rollout, spread_over_tokens


def entropy_advantages(
    advantages: torch.Tensor,
    token_entropy: torch.Tensor,
    action_mask: torch.Tensor,
    alpha: float = 0.4,
    kappa: float = 2.0,
) -> torch.Tensor:
    """A_t + min(alpha * H_t, |A_t| / kappa), [P, G, A], on action tokens; 0 elsewhere.

    H is the full-vocabulary entropy in nats, detached. With kappa > 1 no sign changes, and where A = 0
    nothing is added: zero-variance groups still train nothing. Source: "Reasoning with Exploration: An
    Entropy Perspective", arXiv 2506.14758, section 3.

    advantages[P, G]; token_entropy, action_mask[P, G, A]. Raises ValueError for shapes or kappa <= 1.
    """
    if token_entropy.shape != action_mask.shape or token_entropy.shape[:2] != advantages.shape:
        raise ValueError(
            f"entropy_advantage: advantages {tuple(advantages.shape)}, token_entropy "
            f"{tuple(token_entropy.shape)} and action_mask {tuple(action_mask.shape)} disagree"
        )
    if kappa <= 1:
        raise ValueError(f"entropy_advantage: kappa = {kappa}: must be above 1, or signs can change")
    mask = action_mask != 0
    entropy = torch.where(mask, token_entropy.detach().float(), 0.0)
    base = spread_over_tokens(advantages, mask)
    return base + torch.minimum(alpha * entropy, base.abs() / kappa)


def _advantages(rollout: Rollout) -> torch.Tensor:
    return entropy_advantages(group_advantages(rollout.rewards), rollout.entropy(), rollout.action_mask)


BASELINE = Baseline(
    name="entropy_advantage",
    source="https://arxiv.org/abs/2506.14758",
    advantages=_advantages,
    clip_low=0.2,
    clip_high=0.28,
    reduction="token_mean",
    needs_entropy=True,
)
