"""Parameters are counted as transformers builds the model, and as the model cards publish them."""

from __future__ import annotations

import json

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.estimate.model_shapes import KNOWN, read_shape, shape_of

PUBLISHED = {
    "Qwen/Qwen3-4B-Base": 4.0e9,
    "Qwen/Qwen3-4B": 4.0e9,
    "Qwen/Qwen3-8B-Base": 8.2e9,
    "Qwen/Qwen2.5-7B": 7.61e9,
    "Qwen/Qwen2.5-7B-Instruct": 7.61e9,
    "Qwen/Qwen2.5-3B-Instruct": 3.09e9,
    "Qwen/Qwen2.5-1.5B-Instruct": 1.54e9,
    "meta-llama/Llama-3.1-8B-Instruct": 8.03e9,
}


@pytest.mark.parametrize("model", KNOWN)
def test_the_published_size(model):
    assert shape_of(model).parameters == pytest.approx(PUBLISHED[model], rel=0.01)


def test_by_hand():
    shape = shape_of("Qwen/Qwen3-4B-Base")
    # attention 2560 * (2 * 4096 + 2 * 1024) = 26,214,400; MLP 3 * 2560 * 9728 = 74,711,040; norms 5120 + 256
    assert shape.layer_parameters == 26_214_400 + 74_711_040 + 5_376
    assert shape.parameters == 36 * 100_930_816 + 151_936 * 2_560 + 2_560 == 4_022_468_096
    assert shape.kv_bytes == 2 * 2 * 36 * 1_024 == 147_456
    shape = shape_of("Qwen/Qwen2.5-7B")
    # attention 3584 * (2 * 3584 + 2 * 512) + biases 3584 + 1024; MLP 3 * 3584 * 18944; norms 2 * 3584
    assert shape.layer_parameters == 29_360_128 + 4_608 + 203_685_888 + 7_168
    assert shape.parameters == 28 * 233_057_792 + 2 * 152_064 * 3_584 + 3_584 == 7_615_616_512
    assert shape.kv_bytes == 57_344


TINY = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "intermediate_size": 80,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 101,
}


@pytest.mark.parametrize(
    ("family", "extra"),
    [
        ("Qwen2", {"tie_word_embeddings": True}),
        ("Qwen2", {"tie_word_embeddings": False}),
        ("Qwen3", {"tie_word_embeddings": True, "head_dim": 20}),
        ("Qwen3", {"tie_word_embeddings": False, "head_dim": 12, "attention_bias": True}),
        ("Llama", {"tie_word_embeddings": False, "attention_bias": True, "mlp_bias": True}),
        ("Llama", {"tie_word_embeddings": True}),
        ("Mistral", {"tie_word_embeddings": False}),
    ],
)
def test_against_a_real_model(tmp_path, family, extra):
    import transformers

    config = getattr(transformers, f"{family}Config")(**TINY, **extra)
    model = transformers.AutoModelForCausalLM.from_config(config)
    config.save_pretrained(tmp_path)
    assert shape_of(str(tmp_path)).parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", ["config.json", "cannot be read as JSON"]),
        ("[]", ["model_type None"]),
        (json.dumps({"model_type": "mamba"}), ["'mamba'", "qwen2, qwen3, llama"]),
        (json.dumps({"model_type": "qwen3", "hidden_size": 8}), ["num_attention_heads: None"]),
        (json.dumps({"model_type": "qwen2", **TINY, "vocab_size": "big"}), ["vocab_size: 'big'"]),
        (json.dumps({"model_type": "qwen2", **TINY, "num_hidden_layers": 0}), ["num_hidden_layers: 0"]),
        (
            json.dumps({"model_type": "qwen2", **TINY, "num_hidden_layers": 10**400}),
            ["num_hidden_layers: 10000"],
        ),
        (json.dumps({"model_type": ["x" * 10**4]}), ["model_type ['xxx"]),
        ("[" * 200_000, ["config.json", "nested too deeply"]),
    ],
)
def test_a_config_that_cannot_be_counted(tmp_path, text, words):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_shape(path)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_an_unknown_model_gets_the_nearest():
    with pytest.raises(UserError, match="did you mean Qwen/Qwen3-8B-Base"):
        shape_of("Qwen/Qwen3-8B-Bse")
