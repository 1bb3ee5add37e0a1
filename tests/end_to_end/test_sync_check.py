"""A broken weight sync shows in every run, and what shows it changes no bit of the training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from stack import Dipo, write_recipe

from dipo_openrlhf.openrlhf_patch.weight_sync import divergence_limit
from dipo_openrlhf.record import checkpoints
from dipo_openrlhf.record.events import WARNING, read_events
from dipo_openrlhf.record.run_log import read_metrics

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.timeout(1800)]

STEPS = 4
OFF = ["--algo.advantage.is_correction_level", "off"]
# Found by every Python that a run starts. The transfer goes on; what arrives is dropped.
NOTHING_ARRIVES = """
import wrapt

def stub(module):
    module.BucketWorker._load = lambda self, layout, flat: None

wrapt.register_post_import_hook(stub, "dipo_openrlhf.openrlhf_patch.weight_sync.worker")
"""


def train(
    folder: Path, model: Path, *arguments: str, environment: dict[str, str] | None = None
) -> tuple[Path, str]:
    """(run's folder, output) of a training without importance weights."""
    recipe, run_dir = write_recipe(folder, model, steps=STEPS)
    command = Dipo(["train", str(recipe), *OFF, *arguments], environment or {}).start()
    status, output = command.finish()
    assert status == 0, output
    return run_dir, output


@pytest.fixture(scope="module")
def logged(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return train(tmp_path_factory.mktemp("logged"), small_model, "--run.dump_experiences", "true")


def test_the_divergence_is_logged_without_a_correction(logged):
    run_dir, output = logged
    rows = read_metrics(run_dir)
    assert len(rows) == STEPS
    assert all(0 < abs(row["vllm_kl"]) < divergence_limit.FLOOR["fp32"] for row in rows)
    assert "is_filter_ratio" not in rows[0]  # no correction was applied
    assert "vllm_kl" not in output
    assert WARNING not in [event["stage"] for event in read_events(run_dir)]


def test_logging_changes_no_bit_of_the_training(logged, small_model, tmp_path):
    """Advantages, log-probabilities, losses, gradients and the weights of every checkpoint."""
    quiet, _ = train(tmp_path, small_model, "--run.dump_experiences", "true", "--run.log_vllm_kl", "false")
    run_dir, _ = logged
    assert all("vllm_kl" not in row for row in read_metrics(quiet))
    for one, other in zip(read_metrics(run_dir), read_metrics(quiet), strict=True):
        for key in ("policy_loss", "actor_grad_norm", "rollout/reward_mean", "ppo_kl", "dipo/threshold_ppl"):
            assert one[key] == other[key], (one["step"], key)
    for step in range(1, STEPS + 1):
        parts, others = (stored(folder, step) for folder in (run_dir, quiet))
        for part, other in zip(parts, others, strict=True):
            for name in ("sequences", "action_mask", "action_log_probs", "advantages", "scores", "rewards"):
                assert torch.equal(part[name], other[name]), (step, name)
    hashes = [
        [whole.marker["weights_hash"] for whole in checkpoints.complete_checkpoints(folder / "ckpt")]
        for folder in (run_dir, quiet)
    ]
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) == 2


def test_weights_that_do_not_arrive_are_reported(logged, small_model, tmp_path):
    """The control: the same training, but the engine drops what it receives."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(NOTHING_ARRIVES)
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    run_dir, output = train(tmp_path, small_model, environment={"PYTHONPATH": path})
    found = [abs(row["vllm_kl"]) for row in read_metrics(run_dir)]
    working = [abs(row["vllm_kl"]) for row in read_metrics(logged[0])]
    # No sync before it; what is in a batch with a sample, and so the rounding of its sums, depends on time.
    assert found[0] == pytest.approx(working[0], rel=0.01)
    assert min(found[2:]) > 10 * max(working)
    warnings = [event["text"] for event in read_events(run_dir) if event["stage"] == WARNING]
    assert len(warnings) == 1
    assert "more than fp32 rounding explains" in warnings[0]
    assert warnings[0] in output


def stored(run_dir: Path, step: int) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = torch.load(run_dir / "experiences" / f"step_{step}.pt", weights_only=True)
    return parts
