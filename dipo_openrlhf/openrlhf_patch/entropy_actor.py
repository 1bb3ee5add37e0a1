"""An actor whose forward also returns full-vocabulary token entropies, for the methods that need them.

Used only then (driver.py): the entropy of a token is a softmax over the whole vocabulary, which DiPO never needs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from dipo_openrlhf.openrlhf_patch.actor import DiPOPolicyActor


class ScoredActions(NamedTuple):
    """What the training policy says of sampled tokens: log_probs[B, A] and entropy[B, A] in nats, on CPU."""

    log_probs: torch.Tensor
    entropy: torch.Tensor


class EntropyPolicyActor(DiPOPolicyActor):
    """PolicyModelActor whose `forward` returns ScoredActions, from the one forward pass that it makes anyway."""

    def forward(
        self,
        sequences: torch.Tensor,
        action_mask: torch.Tensor,
        attention_mask: torch.Tensor,
        packed_seq_lens: Any = None,
        mm_train_inputs_list: Any = None,
    ) -> ScoredActions:
        """See openrlhf/trainer/ray/ppo_actor.py:618. Raises RuntimeError for a model that takes images."""
        if getattr(self.actor, "is_vlm", False):
            raise RuntimeError(
                "token entropies of a model with images are not supported: use another dipo.method"
            )
        device = torch.cuda.current_device()
        self.actor.eval()
        with torch.no_grad():
            log_probs, output = self.actor(
                sequences.to(device),
                action_mask.to(device),
                attention_mask.to(device),
                ring_attn_group=self.strategy.ring_attn_group,
                return_output=True,
                return_entropy=True,
            )
        self.actor.train()
        entropy = output.entropy[:, -action_mask.shape[1] :]
        return ScoredActions(log_probs.to("cpu"), entropy.float().to("cpu"))
