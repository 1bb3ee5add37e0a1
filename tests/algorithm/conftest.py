"""Random models of a few thousand weights, one of each family that the reference trainer knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

FAMILIES = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}


def _small_model(family: str = "qwen3", seed: int = 0, **changes: Any) -> Any:
    """Two layers, two heads to one pair of keys and values, vocabulary 16, with biases where the family has them."""
    torch.manual_seed(seed)
    config_class, model_class = FAMILIES[family]
    sizes = {
        "vocab_size": 16,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
        "initializer_range": 0.3,
    }
    model = model_class(config_class(**{**sizes, **changes})).eval()
    for name, weight in model.named_parameters():
        if "bias" in name or "norm" in name:  # they start at 0 and 1, where an error would not show
            torch.nn.init.normal_(weight, mean=1.0 if "norm" in name else 0.0, std=0.3)
    return model


@pytest.fixture(scope="session")
def small_model() -> Callable[..., Any]:
    """`_small_model`."""
    return _small_model
