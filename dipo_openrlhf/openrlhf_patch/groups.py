"""Between OpenRLHF's micro-batches and groups: [B] and [B, A] in any order, and [P, G] and [P, G, A] by prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch


def to_groups(rows: Sequence[torch.Tensor], order_B: torch.Tensor, n_samples_per_prompt: int) -> torch.Tensor:
    """[P, G] from per-experience tensors: micro-batches may be balanced, `index` says where each row belongs.

    Mirrors openrlhf/trainer/ppo_utils/experience_maker.py:252 (sorted by original prompt order).
    """
    flat_B = torch.cat([row.detach().cpu().reshape(-1) for row in rows])
    sorted_B = torch.empty_like(flat_B)
    sorted_B[order_B] = flat_B
    return sorted_B.reshape(-1, n_samples_per_prompt)


def to_token_groups(
    rows: Sequence[torch.Tensor], order_B: torch.Tensor, n_samples_per_prompt: int
) -> torch.Tensor:
    """[P, G, A] from per-experience [B, A] tensors of unequal width, padded with zeros on the right."""
    width = max(row.shape[1] for row in rows)
    padded = [torch.nn.functional.pad(row.detach().cpu(), (0, width - row.shape[1])) for row in rows]
    flat_BA = torch.cat(padded)
    sorted_BA = torch.empty_like(flat_BA)
    sorted_BA[order_B] = flat_BA
    return sorted_BA.reshape(-1, n_samples_per_prompt, width)


def row_slices(sizes: Sequence[int]) -> Iterator[slice]:
    """Where each experience's rows lie in their concatenation."""
    start = 0
    for size in sizes:
        yield slice(start, start + size)
        start += size
