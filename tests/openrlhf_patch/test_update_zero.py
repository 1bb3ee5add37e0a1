"""Every micro-batch of a window counts in each of DeepSpeed's ZeRO stages: its gradient is that of the whole window."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

SIZES = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.2,
}  # fmt: skip
CASES = [f"{stage}_{dtype}" for stage in (1, 2, 3) for dtype in ("bf16", "fp32")]


@pytest.fixture(scope="module")
def norms(tmp_path_factory) -> dict[str, list[list[float]]]:
    """Of update_rank.py."""
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("model")
    Qwen3ForCausalLM(Qwen3Config(**SIZES)).save_pretrained(folder)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    script = str(Path(__file__).with_name("update_rank.py"))
    ranks = [
        subprocess.Popen(
            [sys.executable, script, rank, port, str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in "01"
    ]
    try:
        outputs = [rank.communicate(timeout=400)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], outputs[0][-3000:] + outputs[1][-3000:]
    return json.loads((folder / "norms.json").read_text())


@pytest.mark.timeout(500)
@pytest.mark.parametrize("case", CASES)
def test_the_gradient_of_a_window_is_that_of_all_its_micro_batches(norms, case):
    parts, whole = norms[case]
    assert len(parts) == 2
    assert parts == pytest.approx(whole, rel=0.02 if case.endswith("bf16") else 1e-4)
    assert min(whole) > 0
