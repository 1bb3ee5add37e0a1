"""Every method of dipo.method, one of a user's own, and keep_and_refill through the real stack, two steps each."""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from stack import check_metrics_follow, run_dipo, write_recipe

from dipo_openrlhf.algorithm import DipoConfig, methods
from dipo_openrlhf.record.run_log import read_metrics

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]

TESTS = Path(__file__).parents[1]


@pytest.fixture
def dropped_in():
    """A user's file in the package's folder of methods, for as long as the test runs."""
    file = Path(shutil.copy(TESTS / "algorithm" / "my_method.py", methods.__path__[0]))
    importlib.invalidate_caches()
    yield file.stem
    file.unlink()
    sys.modules.pop(f"{methods.__name__}.{file.stem}", None)


def test_one_file_methods_and_one_file_rewards_train(small_model, tmp_path, dropped_in):
    """It has every switch set: the extended forward, refilling, and a constant denominator."""
    reward = TESTS / "rewards" / "my_reward.py"
    assert all(len(file.read_text().splitlines()) < 40 for file in (reward, TESTS / "algorithm/my_method.py"))
    recipe, run_dir = write_recipe(tmp_path, small_model, steps=4)
    arguments = ["--dipo.method", dropped_in, "--reward.remote_url", str(reward)]
    status, output = run_dipo("train", str(recipe), *arguments, "--run.dump_experiences", "true")
    assert status == 0, output
    rows = read_metrics(run_dir)
    # Each prompt once; the last batch may be a few prompts, and have no group with variance.
    untrained = re.findall(
        r"nothing to train on in this batch: groups sampled: (\d+)", (run_dir / "train.log").read_text()
    )
    assert sum(row["refill/groups_sampled"] for row in rows) + sum(map(int, untrained)) == 32
    assert all(0 <= row["my_reward"] <= 1 for row in rows)
    (first, *_) = (row["step"] for row in rows if row["actor_grad_norm"] > 0)
    parts = torch.load(run_dir / "experiences" / f"step_{first}.pt", weights_only=True)
    assert _tokens_of_a_response_differ(parts)
    assert (run_dir / "final" / "config.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("method", methods.names())
def test_a_method_trains_through_openrlhf(small_model, tmp_path, method):
    recipe, run_dir = write_recipe(tmp_path, small_model, steps=2)
    arguments = ["--dipo.method", method, "--run.dump_experiences", "true"]
    status, output = run_dipo("train", str(recipe), *arguments)
    assert status == 0, output
    rows = read_metrics(run_dir)
    moved = [row["step"] for row in rows if row["actor_grad_norm"] > 0]
    assert moved  # a step whose groups are all extreme has no gradient, with most methods
    parts = torch.load(run_dir / "experiences" / f"step_{moved[0]}.pt", weights_only=True)
    assert sum((part["advantages"] * part["action_mask"]).abs().sum() for part in parts) > 0
    if methods.get(method).needs_entropy:
        assert _tokens_of_a_response_differ(parts)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["gspo", "cispo"])
def test_a_loss_trains_through_openrlhf(small_model, tmp_path, loss):
    """Four updates a step, so that ratios leave 1 and the loss's own bound is reached."""
    recipe, run_dir = write_recipe(tmp_path, small_model, steps=2)
    arguments = [
        "--actor.policy_loss_type",
        loss,
        "--train.batch_size",
        "16",
        "--train.micro_batch_size",
        "16",
    ]
    status, output = run_dipo("train", str(recipe), *arguments, "--algo.advantage.is_correction_level", "off")
    assert status == 0, output
    rows = read_metrics(run_dir)
    assert any(row["actor_grad_norm"] > 0 for row in rows)
    if loss == "gspo":  # 0 with the range of 0.2, which never acts
        assert max(row["ppo_clip_ratio"] for row in rows) > 0.01
    assert all(abs(row["vllm_kl"]) < 1e-2 for row in rows)


def _tokens_of_a_response_differ(parts: list[dict]) -> bool:
    """Token entropies reached the advantages: within some response they are not all equal."""
    return any(
        row[mask.bool()].unique().numel() > 1
        for part in parts
        for row, mask in zip(part["advantages"], part["action_mask"], strict=True)
    )


@pytest.mark.slow
def test_keep_and_refill_fills_the_batch_and_keeps_the_extremes(small_model, tmp_path):
    recipe, run_dir = write_recipe(tmp_path, small_model, steps=4)
    arguments = ["--dipo.keep_and_refill", "true", "--train.batch_size", "96"]
    status, output = run_dipo("train", str(recipe), *arguments)
    assert status == 0, output
    rows = read_metrics(run_dir)
    prompts = sum(row["refill/groups_sampled"] for row in rows)
    assert prompts == 32  # each prompt once, the last batch included
    for row in rows:
        extreme = row["dipo/groups_hard"] + row["dipo/groups_easy"]
        assert row["dipo/groups_normal"] + row["refill/groups_missing"] == 8
        assert row["refill/groups_sampled"] == row["dipo/groups_normal"] + extreme
        assert row["refill/further_prompts"] <= 8
        acted = row["dipo/fired_hard"] + row["dipo/fired_easy"] - row["dipo/fired_without_room"]
        assert row["dipo/trained_samples"] == 8 * (row["dipo/groups_normal"] + acted)
        assert row["dipo/trained_samples"] + row["dipo/padding_samples"] == 96
        assert row["rollout/num_samples"] == 8 * row["refill/groups_sampled"]
    assert rows[0]["refill/further_prompts"] > 0


@pytest.mark.slow
def test_two_ranks_and_two_engines_have_one_queue(small_model, tmp_path):
    """ZeRO-3 on two actor ranks, batches of odd size: every rank trains on the advantages of the one queue."""
    recipe, run_dir = write_recipe(tmp_path, small_model, steps=3)
    status, output = run_dipo(
        "train", str(recipe), "--actor.num_gpus_per_node", "2", "--vllm.num_engines", "2", "--ds.zero_stage", "3",
        "--dipo.keep_and_refill", "true", "--train.batch_size", "128", "--rollout.micro_batch_size", "12",
        "--run.dump_experiences", "true", "--run.cpu_threads", "1",
    )  # fmt: skip
    assert status == 0, output
    check_metrics_follow(run_dir, DipoConfig(min_side_samples=10, keep_and_refill=True))
    for row in read_metrics(run_dir):
        assert row["dipo/trained_samples"] + row["dipo/padding_samples"] == 128
        assert abs(row["vllm_kl"]) < 1e-4
        parts = torch.load(run_dir / "experiences" / f"step_{row['step']}.pt", weights_only=True)
        assert len(parts) % 2 == 0  # the same number of micro-batches on each rank
