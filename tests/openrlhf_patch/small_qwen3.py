"""A Qwen3 of random weights, for tests that need a model and not its answers."""

from __future__ import annotations

from typing import Any

import torch


def small_model(seed: int, dtype: torch.dtype) -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=512, hidden_size=128, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        head_dim=32, intermediate_size=128, max_position_embeddings=128, tie_word_embeddings=True,
    )  # fmt: skip
    return Qwen3ForCausalLM(config).to(dtype)
