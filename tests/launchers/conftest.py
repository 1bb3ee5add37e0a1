"""A user's project folder with a recipe that fits two nodes of one GPU, and a key in the environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

KEY = "feedface" * 5  # of no account

RECIPE = """\
run: {name: tiny, dir: /shared/runs/tiny, device: cpu}
actor:
  model_name_or_path: model
  adam: {lr: 1.0e-3}
data: {prompt_dataset: prompts.jsonl, max_len: 112}
rollout: {batch_size: 8, n_samples_per_prompt: 8, max_new_tokens: 48}
train: {batch_size: 64, micro_batch_size: 32}
ckpt: {save_steps: 2}
"""

BIG = """\
run: {dir: /shared/runs/big, device: gpu}
actor: {model_name_or_path: Qwen/Qwen3-4B-Base, num_nodes: 1, num_gpus_per_node: 8}
vllm: {num_engines: 4, tensor_parallel_size: 2}
data: {prompt_dataset: /shared/train.jsonl, max_len: 4096}
rollout: {batch_size: 128, n_samples_per_prompt: 8, max_new_tokens: 3072}
train: {batch_size: 1024}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder; WANDB_API_KEY is set, as in a user's shell."""
    folder = tmp_path / "project"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text("{}")
    (folder / "tiny.yaml").write_text(RECIPE)
    (folder / "big.yaml").write_text(BIG)
    (folder / "prompts.jsonl").write_text(json.dumps({"input": "1 + 1?", "label": "2"}) + "\n")
    monkeypatch.chdir(folder)
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "DIPO_SECRETS_FILE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    return folder
