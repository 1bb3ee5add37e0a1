"""Log-perplexity of sampled responses."""

from __future__ import annotations

import torch


class NotFiniteError(ValueError):
    """The policy's forward pass gave a log-probability that is not finite: broken weights, or an overflow."""


def sequence_log_ppl(log_probs_BA: torch.Tensor, action_mask_BA: torch.Tensor) -> torch.Tensor:
    """Mean of -log pi_old over the action tokens of each response: log-perplexity, in nats per token.

    Source: arXiv 2604.13902, definition of PPL; p = log PPL, and every comparison is monotone in p.

    log_probs_BA: of the sampled tokens, under the policy as the training engine scores it. action_mask_BA: nonzero
    where the token was sampled by the policy. Prompt, padding and tool feedback are zero there; their log_probs may
    hold anything, NaN included, and never enter. Returns [B], at least float32; NaN where a row has no action token.
    Raises ValueError when shapes differ, NotFiniteError where an action token's log-probability is not finite.
    """
    if log_probs_BA.dim() != 2 or log_probs_BA.shape != action_mask_BA.shape:
        raise ValueError(
            f"sequence_log_ppl: log_probs {tuple(log_probs_BA.shape)} and action_mask "
            f"{tuple(action_mask_BA.shape)} must both be [B, A]"
        )
    if not log_probs_BA.is_floating_point():
        raise ValueError(f"sequence_log_ppl: log_probs must be floating point, got {log_probs_BA.dtype}")
    mask_BA = action_mask_BA != 0
    dtype = torch.promote_types(log_probs_BA.dtype, torch.float32)
    # masked_fill, not a product: 0 * NaN of a masked token would be NaN
    total_B = log_probs_BA.masked_fill(~mask_BA, 0.0).sum(dim=-1, dtype=dtype)
    bad_B = ~torch.isfinite(total_B)  # one pass over the sums, not over 30 million tokens
    if bool(bad_B.any()):
        raise NotFiniteError(
            f"sequence_log_ppl: row {int(bad_B.nonzero()[0])} has an action token whose log-probability is not finite "
            f"({int(bad_B.sum())} such rows); the training engine's forward pass is broken there"
        )
    return -total_B / mask_BA.sum(dim=-1).to(dtype)  # 0 / 0 is the NaN of a row without action tokens
