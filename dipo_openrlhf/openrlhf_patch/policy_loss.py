"""CISPO, a loss that OpenRLHF does not have: no token is dropped, its importance weight is bounded.

-sg(clip(ratio, 1 - low, 1 + high)) A log pi, sg the stop of the gradient, for each token. Source: arXiv 2506.13585,
equation 4. The figure logged as the loss is -clip(ratio) A, as PPO's is; the gradient is the published one.
"""

from __future__ import annotations

from typing import Any

import openrlhf.trainer.ray.ppo_actor as ppo_actor
import torch
from openrlhf.models.loss import PolicyLoss
from openrlhf.models.utils import masked_mean

CISPO = "cispo"


class WeightClipLoss(PolicyLoss):
    """OpenRLHF's PPO loss without its clip, on advantages scaled by clip(ratio) / ratio, of which no gradient is taken.

    ratio * A * sg(clip(ratio) / ratio) has CISPO's gradient, sg(clip(ratio)) A grad log pi. All else is OpenRLHF's: the
    correction of importance weights, the mean, and what is logged.
    """

    def __init__(self, clip_eps_low: float, clip_eps_high: float, **options: Any) -> None:
        """Raises ValueError with `dual_clip`, a bound of the PPO loss."""
        if options.get("dual_clip") is not None:
            raise ValueError("cispo has no dual_clip")
        super().__init__(
            **{**options, "policy_loss_type": "ppo"},
            clip_eps_low=float("inf"),
            clip_eps_high=float("inf"),
        )
        self.low, self.high = 1 - clip_eps_low, 1 + clip_eps_high

    def forward(
        self,
        log_probs: torch.Tensor,
        old_log_probs: torch.Tensor,
        advantages: torch.Tensor,
        action_mask: torch.Tensor | None = None,
        *args: Any,
        **options: Any,
    ) -> tuple[torch.Tensor | None, ...]:
        """OpenRLHF's five figures; the second is the share of tokens whose weight is at a bound."""
        ratio = (log_probs - old_log_probs).detach().clamp(-20.0, 20.0).exp()  # as PolicyLoss.forward
        weight = ratio.clamp(self.low, self.high)
        found = super().forward(
            log_probs, old_log_probs, advantages * (weight / ratio), action_mask, *args, **options
        )
        bounded = masked_mean((weight != ratio).float(), action_mask, dim=None)
        return found[0], bounded, *found[2:]


def policy_loss(policy_loss_type: str = "ppo", **options: Any) -> PolicyLoss:
    """The loss of `actor.policy_loss_type`, with PolicyLoss's arguments."""
    if policy_loss_type == CISPO:
        return WeightClipLoss(**options)
    return PolicyLoss(policy_loss_type=policy_loss_type, **options)


def install() -> None:
    """Let the update of this process build the loss here."""
    ppo_actor.PolicyLoss = policy_loss
