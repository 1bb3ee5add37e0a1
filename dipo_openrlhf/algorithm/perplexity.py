"""Log-perplexity of sampled responses."""

from __future__ import annotations

import torch


class NotFiniteError(ValueError):
    """The policy's forward pass gave numbers that are none: its weights are gone, or its number format does not hold."""


def sequence_log_ppl(log_probs: torch.Tensor, action_mask: torch.Tensor) -> torch.Tensor:
    """Mean of -log pi_old over the action tokens of each response: log-perplexity, in nats per token.

    Source: arXiv 2604.13902, definition of PPL; p = log PPL, and every comparison is monotone in p.

    log_probs[B, A]: of the sampled tokens, under the policy as the training engine scores it.
    action_mask[B, A]: nonzero where the token was sampled by the policy. Prompt, padding and tool feedback
    are zero there; their log_probs may hold anything, NaN included, and never enter. Returns [B], at least
    float32; NaN where a row has no action token. Raises ValueError when shapes differ, NotFiniteError where an action
    token's log-probability is not finite.
    """
    if log_probs.dim() != 2 or log_probs.shape != action_mask.shape:
        raise ValueError(
            f"sequence_log_ppl: log_probs {tuple(log_probs.shape)} and action_mask "
            f"{tuple(action_mask.shape)} must both be [B, A]"
        )
    if not log_probs.is_floating_point():
        raise ValueError(f"sequence_log_ppl: log_probs must be floating point, got {log_probs.dtype}")
    mask = action_mask != 0
    dtype = torch.promote_types(log_probs.dtype, torch.float32)
    # masked_fill, not a product: 0 * NaN of a masked token would be NaN
    total = log_probs.masked_fill(~mask, 0.0).sum(dim=-1, dtype=dtype)
    bad = ~torch.isfinite(total)  # [B]: one pass over the sums, not over 30 million tokens
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise NotFiniteError(
            f"sequence_log_ppl: row {row} has an action token whose log-probability is not finite "
            f"({int(bad.sum())} such rows); the training engine's forward pass is broken there"
        )
    return -total / mask.sum(dim=-1).to(dtype)  # 0 / 0 is the NaN of a row without action tokens
