"""Every micro-batch of a window counts in each of DeepSpeed's ZeRO stages: its gradient is that of the whole window."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM
from two_ranks import run_two_ranks

SIZES = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.2,
}  # fmt: skip
IDLE_CASES = [
    f"idle_{stage}_{way}" for stage in (1, 2, 3) for way in ("dynamic", "even", "dynamic_bf16", "even_bf16")
]
CASES = [f"{stage}_{dtype}" for stage in (1, 2, 3) for dtype in ("bf16", "fp32")]


@pytest.fixture(scope="module")
def norms(tmp_path_factory) -> dict[str, list[list[float]]]:
    """Of update_rank.py."""
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("model")
    Qwen3ForCausalLM(Qwen3Config(**SIZES)).save_pretrained(folder)
    run_two_ranks("update_rank.py", str(folder), seconds=400)
    return json.loads((folder / "norms.json").read_text())


@pytest.mark.timeout(500)
@pytest.mark.parametrize("case", CASES)
def test_the_gradient_of_a_window_is_that_of_all_its_micro_batches(norms, case):
    parts, whole = norms[case]
    assert len(parts) == 2
    assert parts == pytest.approx(whole, rel=0.02 if case.endswith("bf16") else 1e-4)
    assert min(whole) > 0


@pytest.mark.timeout(500)
@pytest.mark.parametrize("case", IDLE_CASES)
def test_rows_without_an_advantage_can_be_left_out(norms, case):
    trained, left_out = norms[case]
    assert len(trained) == 2
    assert left_out == pytest.approx(trained, rel=0.02 if case.endswith("bf16") else 1e-4)
    assert min(trained) > 0
