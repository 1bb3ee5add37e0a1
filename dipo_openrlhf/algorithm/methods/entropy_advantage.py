"""Entropy-shaped advantages: uncertain tokens count more, never enough to turn a sign. arXiv 2506.14758."""

from __future__ import annotations

import torch

from dipo_openrlhf.algorithm.advantages import group_advantages, spread_over_tokens
from dipo_openrlhf.algorithm.method import Method, Rollout


def entropy_advantages(
    advantages_PG: torch.Tensor,
    token_entropy_PGA: torch.Tensor,
    action_mask_PGA: torch.Tensor,
    alpha: float = 0.4,
    kappa: float = 2.0,
) -> torch.Tensor:
    """A_t + min(alpha * H_t, |A_t| / kappa), [P, G, A], on action tokens; 0 elsewhere.

    H is the full-vocabulary entropy in nats, detached. With kappa > 1 no sign changes, and where A = 0 nothing is
    added: zero-variance groups still train nothing. Source: "Reasoning with Exploration: An Entropy Perspective",
    arXiv 2506.14758, section 3. Raises ValueError for shapes or kappa <= 1.
    """
    if token_entropy_PGA.shape != action_mask_PGA.shape or token_entropy_PGA.shape[:2] != advantages_PG.shape:
        raise ValueError(
            f"entropy_advantage: advantages {tuple(advantages_PG.shape)}, token_entropy "
            f"{tuple(token_entropy_PGA.shape)} and action_mask {tuple(action_mask_PGA.shape)} disagree"
        )
    if kappa <= 1:
        raise ValueError(f"entropy_advantage: kappa = {kappa}: must be above 1, or signs can change")
    mask_PGA = action_mask_PGA != 0
    entropy_PGA = torch.where(mask_PGA, token_entropy_PGA.detach().float(), 0.0)
    base_PGA = spread_over_tokens(advantages_PG, mask_PGA)
    return base_PGA + torch.minimum(alpha * entropy_PGA, base_PGA.abs() / kappa)


def _advantages(rollout: Rollout) -> torch.Tensor:
    advantages_PG = group_advantages(rollout.rewards_PG)
    return entropy_advantages(advantages_PG, rollout.entropy(), rollout.action_mask_PGA)


METHOD = Method(
    name="entropy_advantage",
    source="https://arxiv.org/abs/2506.14758",
    advantages=_advantages,
    clip_low=0.2,
    clip_high=0.28,
    needs_entropy=True,
)
