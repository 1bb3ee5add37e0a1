"""LoRA through `dipo train`: merged weights reach vLLM and the evaluation, adapters are resumed from."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from safetensors.torch import load_file
from stack import EVALUATE, Dipo, check_equal_rollouts, check_equal_steps, rollouts, wait_until, write_recipe

from dipo_openrlhf.record import checkpoints
from dipo_openrlhf.record.run_log import read_metrics

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(1500)]

LORA = ["--ds.lora.rank", "4", "--actor.adam.lr", "1e-2"]
# Python imports this first in each process of the run: the engines keep the weights that they started with.
NO_SYNC = """\
import wrapt

def stub(module):
    module.DiPOPolicyActor.broadcast_to_vllm = lambda self: None

wrapt.register_post_import_hook(stub, "dipo_openrlhf.openrlhf_patch.actor")
"""


def trained(recipe: Path, *arguments: str, **environment: str) -> None:
    status, output = Dipo(["train", str(recipe), *LORA, *arguments], environment).start().finish()
    assert status == 0, output


def distances(run_dir: Path) -> list[float]:
    """|vllm_kl| of each step: between the engine's log-probabilities and the actor's."""
    return [abs(row["vllm_kl"]) for row in read_metrics(run_dir)]


def adapter(run_dir: Path, step: int) -> dict:
    return load_file(run_dir / "ckpt" / f"global_step{step}_hf" / "adapter" / "adapter_model.safetensors")


def test_lora_trains_syncs_and_its_export_is_evaluated(small_model, tmp_path):
    recipe, run_dir = write_recipe(tmp_path, small_model, steps=3)
    trained(recipe, *EVALUATE)
    assert any(row["actor_grad_norm"] > 0 for row in read_metrics(run_dir))
    assert max(distances(run_dir)) < 1e-3
    assert any(tensor.any() for name, tensor in adapter(run_dir, 2).items() if "lora_B" in name)
    complete = json.loads((run_dir / "ckpt" / "global_step2_hf" / "COMPLETE.json").read_text())
    (results,) = (run_dir / "results").glob("*/global_step2/arithmetic-control/results.json")
    assert json.loads(results.read_text())["model"]["weights_hash"] == complete["weights_hash"]
    before, after = (load_file(folder / "model.safetensors") for folder in (small_model, run_dir / "final"))
    assert set(before) == set(after)
    state = run_dir / "ckpt" / "_actor" / "global_step2"
    assert sum(file.stat().st_size for file in state.glob("*.pt")) < 2**20  # the model has 4 MiB


@pytest.mark.slow
def test_without_the_sync_the_engines_differ(small_model, tmp_path):
    """The control of `distances`."""
    (tmp_path / "sitecustomize.py").write_text(NO_SYNC)
    found = {}
    for name, path in (("synced", ""), ("not synced", f"{tmp_path}:")):
        recipe, run_dir = write_recipe(tmp_path / name.replace(" ", "_"), small_model, steps=3)
        trained(recipe, PYTHONPATH=path + os.environ.get("PYTHONPATH", ""))
        found[name] = distances(run_dir)
    assert found["not synced"][-1] > 50 * max(found["synced"])


@pytest.mark.slow
@pytest.mark.parametrize("stage", [2, 3])
def test_killed_and_resumed_equals_an_undisturbed_run(small_model, tmp_path, stage):
    """Two ranks and two windows a step, with dropout, which draws numbers of its own."""
    options = [
        *("--ds.zero_stage", str(stage), "--actor.num_gpus_per_node", "2", "--ckpt.save_steps", "1"),
        *("--train.batch_size", "32", "--train.micro_batch_size", "16", "--ds.lora.dropout", "0.1"),
    ]
    recipe, undisturbed = write_recipe(tmp_path / "undisturbed", small_model, steps=5)
    trained(recipe, *options)
    assert max(distances(undisturbed)) < 1e-3

    recipe, run_dir = write_recipe(tmp_path / "killed", small_model, steps=5)
    command = Dipo(["train", str(recipe), *LORA, *options]).start()
    assert command.process is not None
    saved = lambda: checkpoints.resumable_steps(run_dir / "ckpt")  # noqa: E731
    wait_until(lambda: saved() and saved()[-1] >= 2, command.process)
    command.process.kill()
    command.process.wait(10)
    assert command.left_over_after(90) == []
    assert 2 <= saved()[-1] < 5
    trained(recipe, "--resume", *options)
    check_equal_rollouts(rollouts(undisturbed), rollouts(run_dir))
    check_equal_steps(read_metrics(undisturbed), read_metrics(run_dir))
    one, other = adapter(undisturbed, 5), adapter(run_dir, 5)
    for name, tensor in one.items():
        assert (tensor - other[name]).abs().max() < 1e-4, name


@pytest.mark.slow
def test_the_reference_of_a_kl_term_is_the_base(small_model, tmp_path):
    recipe, run_dir = write_recipe(tmp_path, small_model, steps=3)
    kl = ["--algo.kl.use_loss", "true", "--algo.kl.init_coef", "0.01", "--algo.kl.estimator", "k3"]
    trained(recipe, "--dipo.method", "grpo", *kl)
    first, *later = (row["kl"] for row in read_metrics(run_dir))
    assert first == pytest.approx(0, abs=1e-6)
    assert max(later) > 1e-3
