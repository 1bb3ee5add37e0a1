"""flash-attn's attention and packing functions in plain torch, with which packed samples train on CPU.

A packed batch is one row of T tokens; `cu_seqlens` [sequences + 1] says where each sequence begins, and a token attends
to its own sequence alone. Padding is removed and put back by transformers' functions of flash-attn's names.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

_NO_WINDOW = (-1, -1)


def flash_attn_func(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = _NO_WINDOW,
) -> torch.Tensor:
    """Attention of q [B, S, heads, D] to k and v [B, S, key-value heads, D]: [B, S, heads, D].

    Raises RuntimeError for a sliding window, and for causal attention to another number of keys than of queries.
    """
    if tuple(window_size) != _NO_WINDOW:
        raise RuntimeError("sliding-window attention is not written for CPU: use ds.attn_implementation sdpa")
    if causal and q.shape[1] != k.shape[1]:
        raise RuntimeError(f"causal attention of {q.shape[1]} queries to {k.shape[1]} keys")
    query, key, value = (one.transpose(1, 2) for one in (q, k, v))
    return scaled_dot_product_attention(
        query, key, value, dropout_p=dropout_p, is_causal=causal, scale=softmax_scale, enable_gqa=True
    ).transpose(1, 2)


def flash_attn_varlen_func(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    max_seqlen_q: int | None = None,
    max_seqlen_k: int | None = None,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = _NO_WINDOW,
) -> torch.Tensor:
    """The same for packed sequences: q [T, heads, D], k and v [T, key-value heads, D] to [T, heads, D]."""
    queries, keys = cu_seqlens_q.diff().tolist(), cu_seqlens_k.diff().tolist()
    rows = zip(q.split(queries), k.split(keys), v.split(keys), strict=True)
    attended = [
        flash_attn_func(query[None], key[None], value[None], dropout_p, softmax_scale, causal, window_size)
        for query, key, value in rows
    ]
    return torch.cat(attended, dim=1).squeeze(0)


def index_first_axis(tensor: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """The rows [T, ...] of `tensor` [B * S, ...] at `indices` [T]."""
    return tensor[indices]


def lazy_imports(original: Any, implementation: str | None, *args: Any, **kwargs: Any) -> Any:
    """In place of transformers/modeling_flash_attention_utils.py, _lazy_imports, for flash_attention_2 alone."""
    if implementation != "flash_attention_2":
        return original(implementation, *args, **kwargs)
    from transformers.modeling_flash_attention_utils import _pad_input, _unpad_input

    return flash_attn_func, flash_attn_varlen_func, None, _pad_input, _unpad_input


def can_dispatch(original: Any) -> Any:
    """In place of transformers/modeling_utils.py, PreTrainedModel._flash_attn_can_dispatch: version 2 is here."""

    def _flash_attn_can_dispatch(self: Any, flash_attn_version: int, is_init_check: bool = False) -> bool:
        return flash_attn_version == 2 or bool(original(self, flash_attn_version, is_init_check))

    return _flash_attn_can_dispatch
