"""What a baseline is: token advantages of a rollout, and the loss they go into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

Estimator = Literal["group_norm", "dr_grpo"]
Reduction = Literal["token_mean", "response_mean", "constant"]


@dataclass(frozen=True)
class Rollout:
    """One rollout batch, as a baseline sees it.

    rewards[P, G]: as training uses them, shaping included; correct[P, G] bool; action_mask[P, G, A] bool;
    log_ppl[P, G] nats per token, NaN without action tokens; token_entropy[P, G, A]: full-vocabulary entropy
    of pi_old in nats, or None where nothing needs it; progress: share of training done, in [0, 1].
    """

    rewards: torch.Tensor
    correct: torch.Tensor
    action_mask: torch.Tensor
    log_ppl: torch.Tensor
    token_entropy: torch.Tensor | None = None
    progress: float = 0.0

    def entropy(self) -> torch.Tensor:
        """token_entropy[P, G, A], detached. Raises ValueError if it was not computed."""
        if self.token_entropy is None:
            raise ValueError(
                "Rollout.token_entropy is missing; this baseline needs the entropy of each token"
            )
        return self.token_entropy.detach()


@dataclass(frozen=True)
class Baseline:
    """A method to compare DiPO with.

    advantages: Rollout -> [P, G, A], zero outside action tokens. clip_low, clip_high: bounds of the ratio,
    1 - low and 1 + high. reduction: over all tokens, over responses' means, or by a constant denominator.
    dynamic_sampling: zero-variance groups are dropped and sampled anew. needs_entropy: reads token_entropy.
    estimator: which of OpenRLHF's estimators the method's normal groups use. is_openrlhfs: that estimator
    gives these very advantages, so OpenRLHF's own are kept. from_correctness: `correct` is read and `rewards`
    is not, so shaping a reward would have no effect.
    """

    name: str
    source: str
    advantages: Callable[[Rollout], torch.Tensor]
    clip_low: float = 0.2
    clip_high: float = 0.2
    reduction: Reduction = "token_mean"
    dynamic_sampling: bool = False
    needs_entropy: bool = False
    estimator: Estimator = "group_norm"
    is_openrlhfs: bool = False
    from_correctness: bool = False


def spread_over_tokens(advantages: torch.Tensor, action_mask: torch.Tensor) -> torch.Tensor:
    """[P, G, A]: each response's advantage[P, G] on its action tokens, 0 elsewhere."""
    return advantages.unsqueeze(-1) * (action_mask != 0)
