"""Packed dynamic batches on two ranks under ZeRO-3: the logged loss is the window's, as the stored batch has it."""

from __future__ import annotations

import pytest
import torch
from stack import run_dipo, write_recipe

from dipo_openrlhf.record.run_log import read_metrics

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.timeout(900)]

PACKED = [
    "--ds.packing_samples", "true", "--ds.attn_implementation", "flash_attention_2", "--ds.zero_stage", "3",
    "--train.dynamic_batch_enable", "true", "--train.max_tokens_per_gpu", "256", "--rollout.max_tokens_per_gpu", "256",
    "--actor.num_gpus_per_node", "2", "--run.cpu_threads", "1", "--run.dump_experiences", "true",
]  # fmt: skip


def test_the_logged_loss_is_that_of_the_window(small_model, tmp_path):
    """An update of one window starts with ratios of 1: its loss is minus the mean advantage of all action tokens."""
    recipe, run_dir = write_recipe(tmp_path, small_model, steps=2)
    status, output = run_dipo("train", str(recipe), *PACKED, "--algo.advantage.is_correction_level", "off")
    assert status == 0, output
    rows = read_metrics(run_dir)
    assert len(rows) == 2
    for row in rows:
        parts = torch.load(run_dir / "experiences" / f"step_{row['step']}.pt", weights_only=True)
        assert len(parts) % 2 == 0
        assert all(int(part["attention_mask"].sum()) <= 256 for part in parts)
        assert sum(len(part["index"]) for part in parts) == 64
        total = sum(float((part["advantages"] * part["action_mask"]).sum()) for part in parts)
        tokens = sum(int(part["action_mask"].sum()) for part in parts)
        assert row["policy_loss"] == pytest.approx(-total / tokens, rel=1e-3, abs=1e-5)
        assert abs(row["ppo_kl"]) < 1e-4
    assert any(abs(row["policy_loss"]) > 1e-3 for row in rows)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--train.batch_size", "16"], id="four windows"),
        pytest.param(["--dipo.keep_and_refill", "true", "--train.batch_size", "96"], id="keep_and_refill"),
        pytest.param(["--dipo.method", "dapo", "--train.batch_size", "32"], id="dapo"),
    ],
)
def test_windows_of_a_step_are_all_trained(small_model, tmp_path, arguments):
    recipe, run_dir = write_recipe(tmp_path, small_model, steps=2)
    status, output = run_dipo("train", str(recipe), *PACKED, *arguments)
    assert status == 0, output
    rows = read_metrics(run_dir)
    assert len(rows) >= 1
    assert any(row["actor_grad_norm"] > 0 for row in rows)
    assert all(abs(row["vllm_kl"]) < 1e-2 for row in rows)
