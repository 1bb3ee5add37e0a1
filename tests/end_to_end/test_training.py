"""OpenRLHF's own loop on Ray, vLLM and DeepSpeed, with DiPO in it, on CPU."""

from __future__ import annotations

import itertools
import json
import shutil
import statistics
from pathlib import Path

import pytest
import torch
from stack import (
    WANDB_KEY,
    check_equal_rollouts,
    check_equal_steps,
    check_metrics_follow,
    check_phases,
    rollouts,
    run_dipo,
    write_recipe,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForCausalLM, AutoTokenizer

from dipo_eval.results.store import read_result, read_samples
from dipo_eval.subject.checkpoints import weights_hash
from dipo_eval.watch.best import choosing_items
from dipo_openrlhf.algorithm import DipoConfig
from dipo_openrlhf.record import checkpoints
from dipo_openrlhf.record.provenance import prompts_hash
from dipo_openrlhf.record.run_log import read_metrics

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]


def test_trains_and_leaves_no_process(trained):
    rows = read_metrics(trained.run_dir)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert trained.left_over == []
    # A lock of a DeepSpeed build would hang the next run: nothing is built.
    assert not list(trained.run_dir.glob("torch_extensions/**/*"))
    for row in rows:
        assert row["rollout/num_samples"] == 64
        assert row["dipo/groups_hard"] + row["dipo/groups_easy"] + row["dipo/groups_normal"] == 8
        assert 0 <= row["rollout/accuracy"] <= 1
    assert [row["dipo/queue_size"] for row in rows] == [64, 128, 128, 128]


def test_checkpoints_are_complete_and_marked(trained):
    ckpt = trained.run_dir / "ckpt"
    found = checkpoints.complete_checkpoints(ckpt)
    assert [whole.step for whole in found] == [2, 4]
    for whole in found:
        assert whole.marker["weights_hash"] == weights_hash(whole.hf_path)
        assert whole.marker["versions"]["openrlhf"] == "0.11.2"
        assert whole.marker["data_sha256"] == prompts_hash(str(trained.recipe.parent / "prompts.jsonl"))
    assert found[0].marker["weights_hash"] != found[1].marker["weights_hash"]
    assert (ckpt / "_actor" / "latest").read_text() == "global_step4"


def test_checkpoints_are_evaluated_during_the_training(trained):
    """By the watcher that `dipo train` starts; the starting model as step 0."""
    results, ckpt = trained.run_dir / "results" / "tiny", trained.run_dir / "ckpt"
    log = (trained.run_dir / "watch.log").read_text()
    accuracy, chosen_by = {}, {}
    for step in (0, 2, 4):
        result = read_result(results / f"global_step{step}" / "arithmetic-control")
        assert result is not None, log
        assert (result["step"], result["n_items"]) == (step, 20)
        accuracy[step] = result["metrics"]["accuracy"]["value"]
        rows = read_samples(results / f"global_step{step}" / "arithmetic-control")
        half = choosing_items([row["item_id"] for row in rows])
        chosen_by[step] = sum(row["status"] == "correct" for row in rows if row["item_id"] in half)
        assert f"global_step{step}: arithmetic-control {100 * accuracy[step]:.1f}%" in log
    best = [step for step in (2, 4) if (ckpt / f"global_step{step}_hf" / "BEST.json").exists()]
    assert best == [max((2, 4), key=lambda step: (chosen_by[step], -step))]
    assert json.loads((ckpt / "ENDED.json").read_text()) == {"outcome": "done"}
    events = EventAccumulator(str(trained.run_dir / "tensorboard"))
    events.Reload()
    logged = {event.step: event.value for event in events.Scalars("eval/arithmetic-control/accuracy")}
    assert logged == pytest.approx(accuracy)
    assert list((trained.run_dir / "results").glob("wandb/offline-run-*/*.wandb"))


def _log_probs(folder: Path, text: str) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt", add_special_tokens=False)[
        "input_ids"
    ]
    with torch.no_grad():
        logits = model(ids).logits[0, :-1]
    return torch.log_softmax(logits, -1).gather(-1, ids[0, 1:, None])[:, 0]


def test_weights_really_reach_vllm(trained):
    """vLLM's log-probabilities equal the actor's in every step, while the actor moves far from its start.

    `vllm_kl` compares the two on the step's own rollouts. Without a sync, step 4's rollouts would come from the
    initial model, whose distance from the trained one is measured here on real text.
    """
    rows = read_metrics(trained.run_dir)
    for row in rows:
        assert abs(row["vllm_kl"]) < 1e-4
    tokenizer = AutoTokenizer.from_pretrained(trained.model)
    text = "".join(
        tokenizer.apply_chat_template(
            [{"role": "user", "content": json.loads(line)["input"]}],
            tokenize=False,
            add_generation_prompt=True,
        )
        + f"\\boxed{{{json.loads(line)['label']}}}"
        for line in (trained.recipe.parent / "prompts.jsonl").read_text().splitlines()[:4]
    )
    initial = _log_probs(trained.model, text)
    after_two = _log_probs(trained.run_dir / "ckpt" / "global_step2_hf", text)
    moved = (initial - after_two).abs().mean().item()
    assert moved > 0.01
    assert moved > 100 * max(abs(row["vllm_kl"]) for row in rows)


def test_the_phases_of_a_step_add_up_to_it(trained):
    """And the whole training to what its rows are apart in time; a save counts in the step after it."""
    rows = read_metrics(trained.run_dir)
    check_phases(rows)
    for before, row in itertools.pairwise(rows):
        assert row["timing/wall"] == pytest.approx(row["time"] - before["time"], rel=0.05, abs=0.3)
        phases = {name: row[f"timing/phases/{name}"] for name in ("generate", "forward", "update", "sync")}
        assert min(phases.values()) > 0
        assert row["timing/phases/wait"] == 0
    saves = [
        row["timing/phases/save"] for row in rows
    ]  # steps 2, 4 and so on are saved; the first row follows nothing
    assert statistics.median(saves[2::2]) > 3 * statistics.median(saves[1::2])


def test_engines_and_ranks_report_what_they_did(trained):
    for row in read_metrics(trained.run_dir):
        assert row["throughput/generated_tokens"] == pytest.approx(
            64 * row["rollout/response_length_mean"], rel=0.02
        )
        trained_samples = 64 - row["dipo/skipped_samples"]
        assert 1 <= trained_samples <= 64
        a_sample = (
            row["throughput/trained_tokens"] / trained_samples
        )  # those of groups with a gradient differ a little
        assert row["total_length"] / 2 < a_sample < 2 * row["total_length"]
        assert 1 <= row["engine/running_mean"] <= row["engine/running_max"] <= 64
        assert 0 < row["engine/cache_max"] <= 1
        assert row["engine/preemptions"] == 0
        assert 0 < row["engine/busy_share"] < 1
        assert 0 < row["gpu/idle_share"] < 1  # two simulated GPUs, one engine and one rank, that take turns


def test_logged_metrics_follow_from_the_logged_rollouts(trained):
    """Threshold, fired groups and accuracy of every step, recomputed from rollouts.jsonl alone."""
    check_metrics_follow(trained.run_dir, DipoConfig(min_side_samples=10))


def test_every_tracker_logged_and_the_key_is_nowhere(trained):
    events = EventAccumulator(str(trained.run_dir / "tensorboard"))
    events.Reload()
    losses = events.Scalars("train/policy_loss")
    rows = read_metrics(trained.run_dir)
    assert [event.step for event in losses] == [1, 2, 3, 4]
    assert [event.value for event in losses] == pytest.approx([row["policy_loss"] for row in rows])
    assert len(events.Scalars("train/dipo/groups_hard")) == 4
    (offline,) = trained.run_dir.glob("wandb/offline-run-*/*.wandb")
    content = offline.read_bytes()
    for key in (b"train/policy_loss", b"train/dipo/groups_hard", b"train/global_step"):
        assert key in content
    assert WANDB_KEY not in trained.output
    for path in trained.run_dir.rglob("*"):
        if path.is_file() and path.suffix not in (".pt", ".safetensors"):
            assert WANDB_KEY.encode() not in path.read_bytes(), path


def test_a_run_folder_is_not_overwritten(trained):
    status, output = run_dipo("train", str(trained.recipe))
    assert status == 2
    assert "already holds checkpoints up to step 4: add --resume" in output
    assert "Traceback" not in output


def test_a_changed_recipe_is_not_resumed(trained):
    status, output = run_dipo("train", str(trained.recipe), "--resume", "--dipo.alpha", "0.3")
    assert status == 2
    assert "cannot resume with a changed recipe: dipo.alpha (0.1 -> 0.3)" in output


def test_a_resumed_run_equals_an_uninterrupted_one(trained, tmp_path):
    """As if killed after step 2: the second half is that of the uninterrupted run, response by response. The last step
    is a checkpoint, whatever its number.
    """
    recipe, run_dir = write_recipe(tmp_path, trained.model)
    shutil.copytree(trained.run_dir, run_dir)
    for left in (run_dir / "ckpt" / "_actor" / "global_step4", run_dir / "ckpt" / "global_step4_hf"):
        shutil.rmtree(left)
    for name in ("metrics.jsonl", "rollouts.jsonl"):
        lines = (run_dir / name).read_text().splitlines(keepends=True)
        (run_dir / name).write_text("".join(line for line in lines if json.loads(line)["step"] <= 2))
    resolved = (run_dir / "recipe.yaml").read_text().replace(str(trained.recipe.parent), str(tmp_path))
    (run_dir / "recipe.yaml").write_text(resolved)

    status, output = run_dipo("train", str(recipe), "--resume", "--ckpt.save_steps", "3")
    assert status == 0, output

    uninterrupted, resumed = rollouts(trained.run_dir), rollouts(run_dir)
    assert sorted(resumed) == [1, 2, 3, 4]
    check_equal_rollouts(uninterrupted, resumed)
    check_equal_steps(read_metrics(trained.run_dir), read_metrics(run_dir))
    seen = [group["prompt"] for step in resumed.values() for group in step]
    assert len(seen) == len(set(seen)) == 32
    queue_sizes = [row["dipo/queue_size"] for row in read_metrics(run_dir)]
    assert queue_sizes == [64, 128, 128, 128]
    assert [whole.step for whole in checkpoints.complete_checkpoints(run_dir / "ckpt")] == [2, 3, 4]
    same = [folder / "ckpt" / "global_step4_hf" for folder in (trained.run_dir, run_dir)]
    assert [weights_hash(one) for one in same] == [
        json.loads((one / "COMPLETE.json").read_text())["weights_hash"] for one in same
    ]


def test_every_checkpoint_is_evaluated_with_an_interval(trained, tmp_path):
    status, output = run_dipo(
        "eval", str(trained.run_dir / "ckpt"), "--suites", "arithmetic-control", "--limit", "40",
        "--max-new-tokens", "48", "--results", str(tmp_path), "--run", "tiny",
    )  # fmt: skip
    assert status == 0, output
    for step in (2, 4):
        folder = tmp_path / "tiny" / f"global_step{step}" / "arithmetic-control"
        result = json.loads((folder / "results.json").read_text())
        accuracy = result["metrics"]["accuracy"]
        assert result["step"] == step
        assert result["n_items"] == 40
        assert 0 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1
        assert result["counts"]["correct"] == round(accuracy["value"] * 40)
        assert (folder / "samples.jsonl").read_text().count("\n") == 40
    board = tmp_path / "board.html"
    status, output = run_dipo(
        "board", "--results", str(tmp_path), "--out", str(board), "--run-dir", str(trained.run_dir)
    )
    assert status == 0, output
    assert "arithmetic-control" in board.read_text()
