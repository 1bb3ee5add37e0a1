"""`dipo check-gpu` on two simulated GPUs: the whole check, with the cluster recipes' structure, on a small model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from stack import Dipo, run_dipo

from dipo_openrlhf.gpu_check.compare import check_rows
from dipo_openrlhf.gpu_check.evidence import Evidence
from dipo_openrlhf.gpu_check.rows import advantages, memory, weights
from dipo_openrlhf.gpu_check.settings import CheckSettings

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.timeout(3600)]
STRUCTURE = {
    "train.colocate_all": True, "train.dynamic_batch_enable": True, "ds.zero_stage": 3, "ds.packing_samples": True,
    "ds.enable_sleep": True, "vllm.enable_sleep": True, "actor.gradient_checkpointing_enable": True,
}  # fmt: skip


def test_the_check_passes_here_and_fails_on_what_is_harmed(small_model: Path, tmp_path: Path) -> None:
    out, measured = tmp_path / "check", tmp_path / "measured.json"
    options = [
        "--model",
        str(small_model),
        "--tokens",
        "48",
        "--data.max_len",
        "112",
        "--measured",
        str(measured),
    ]
    command = Dipo(["check-gpu", "--out", str(out), *options]).start()
    status, output = command.finish(3000)
    assert status == 0, output
    assert command.left_over_after(30) == []

    report = json.loads((out / "report.json").read_text())
    results = {row["name"]: row["result"] for row in report["rows"]}
    assert results.pop(memory.NAME) == "not measured here"
    assert set(results.values()) == {"pass"}, output
    assert [part["ended"] for part in report["parts"]].count("killed") == 1
    recipe = Evidence(CheckSettings.read(out)).recipe
    assert {key: recipe.get(key) for key in STRUCTURE} == STRUCTURE
    assert (recipe.get("actor.num_gpus_per_node"), recipe.get("vllm.num_engines")) == (2, 2)

    status, estimate = run_dipo("doctor", "math_qwen3_4b", "--measured", str(measured))
    assert "Measured (2 x simulated GPU, on CPU, " in estimate
    assert status == 0

    step = out / "run" / "experiences" / "step_1.pt"
    parts = torch.load(step, weights_only=True)
    parts[0]["advantages"] = -parts[0]["advantages"]
    torch.save(parts, step)
    shutil.copy(out / "run" / "metrics.jsonl", out / "control" / "metrics.jsonl")  # its weights were sent
    harmed = {row.name: row for row in check_rows(Evidence(CheckSettings.read(out)))}
    assert harmed[advantages.NAME].passed is False
    assert harmed[weights.NAME].passed is False
    assert "proves nothing here" in harmed[weights.NAME].meaning
