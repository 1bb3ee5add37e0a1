"""Shapes of the models that the recipes train, and what follows from a shape: parameters, key-value cache.

Without the hub: the models of the shipped recipes are in a table, any other is read from its folder's config.json. A test
compares the parameters with those of transformers' own models, which would take seconds to build for each estimate.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from dipo_eval.discovery import nearest
from dipo_eval.errors import UserError, short_repr

LARGEST = 10**9  # of each number in a shape: products of them stay numbers that can be shown
FAMILIES = ("qwen2", "qwen3", "llama", "mistral")


@dataclass(frozen=True)
class ModelShape:
    """A decoder with grouped-query attention, a gated MLP and RMS norms, as transformers builds the FAMILIES."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool  # input and output embedding are one matrix
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False  # Qwen3's norms of each head's query and key

    @property
    def query(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def key_value(self) -> int:
        """Width of all key heads together, or of all value heads."""
        return self.kv_heads * self.head_dim

    @property
    def layer_parameters(self) -> int:
        attention = self.hidden * (2 * self.query + 2 * self.key_value)
        attention += self.qkv_bias * (self.query + 2 * self.key_value) + self.output_bias * self.hidden
        mlp = 3 * self.hidden * self.intermediate + self.mlp_bias * (2 * self.intermediate + self.hidden)
        norms = 2 * self.hidden + self.qk_norm * 2 * self.head_dim
        return attention + mlp + norms

    @property
    def parameters(self) -> int:
        """All parameters, a tied embedding once."""
        embeddings = self.vocab * self.hidden * (1 if self.tied else 2)
        return self.layers * self.layer_parameters + embeddings + self.hidden

    @property
    def kv_bytes(self) -> int:
        """Bytes of key-value cache of one token, in bf16."""
        return 2 * 2 * self.layers * self.key_value


# Source: the config.json of each on the Hugging Face hub. Parameters by their model cards: 4.0B, 8.2B, 7.61B, 3.09B,
# 1.54B and 8.03B.
_QWEN3_4B = ModelShape(36, 2560, 9728, 32, 8, 128, 151936, tied=True, qk_norm=True)
_QWEN25_7B = ModelShape(28, 3584, 18944, 28, 4, 128, 152064, tied=False, qkv_bias=True)
_QWEN25_3B = ModelShape(36, 2048, 11008, 16, 2, 128, 151936, tied=True, qkv_bias=True)
KNOWN: dict[str, ModelShape] = {
    "Qwen/Qwen3-4B-Base": _QWEN3_4B,
    "Qwen/Qwen3-4B": _QWEN3_4B,
    "Qwen/Qwen3-8B-Base": ModelShape(36, 4096, 12288, 32, 8, 128, 151936, tied=False, qk_norm=True),
    "Qwen/Qwen2.5-7B": _QWEN25_7B,
    "Qwen/Qwen2.5-7B-Instruct": _QWEN25_7B,
    "Qwen/Qwen2.5-3B-Instruct": _QWEN25_3B,
    "Qwen/Qwen2.5-1.5B-Instruct": ModelShape(28, 1536, 8960, 12, 2, 128, 151936, tied=True, qkv_bias=True),
    "meta-llama/Llama-3.1-8B-Instruct": ModelShape(32, 4096, 14336, 32, 8, 128, 128256, tied=False),
}


def shape_of(model: str) -> ModelShape:
    """A model's shape, from the table or its folder. Raises UserError for one that is in neither."""
    folder = Path(model).expanduser()
    if (folder / "config.json").is_file():
        return read_shape(folder / "config.json")
    if model in KNOWN:
        return KNOWN[model]
    near = nearest(model, KNOWN)
    hint = f"did you mean {near}? " if near else ""
    raise UserError(
        f"actor.model_name_or_path: {model!r}: its shape is not known here: {hint}give a folder with its config.json, "
        f"or one of {', '.join(KNOWN)}"
    )


def read_shape(path: Path) -> ModelShape:
    """The shape in a Hugging Face config.json. Raises UserError naming file and key."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {error}") from None
    except RecursionError:
        raise UserError(f"{path}: cannot be read as JSON: nested too deeply") from None
    family = config.get("model_type") if isinstance(config, dict) else None
    if family not in FAMILIES:
        raise UserError(
            f"{path}: model_type {short_repr(family)} is not among those whose parameters can be counted: "
            f"{', '.join(FAMILIES)}"
        )

    def count(key: str, default: int | None = None) -> int:
        value = config.get(key) if config.get(key) is not None else default
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= LARGEST:
            raise UserError(
                f"{path}: {key}: {short_repr(value)} must be a whole number above 0, at most {LARGEST:,}"
            )
        return value

    heads, hidden = count("num_attention_heads"), count("hidden_size")
    biased = bool(config.get("attention_bias", False))
    return ModelShape(
        layers=count("num_hidden_layers"),
        hidden=hidden,
        intermediate=count("intermediate_size"),
        heads=heads,
        kv_heads=count("num_key_value_heads", heads),
        head_dim=count("head_dim", hidden // heads),
        vocab=count("vocab_size"),
        tied=bool(config.get("tie_word_embeddings", False)),
        qkv_bias=biased or family == "qwen2",
        output_bias=biased and family != "qwen2",
        mlp_bias=bool(config.get("mlp_bias", False)),
        qk_norm=family == "qwen3",
    )
