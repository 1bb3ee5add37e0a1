"""Asynchronous training on the real stack: sampling and training at the same time, with one queue of perplexities."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from stack import Dipo, check_metrics_follow, rollouts, run_dipo, wait_until, write_recipe
from test_against_reference import stored, whole

from dipo_openrlhf.algorithm import DipoConfig, PerplexityQueue, dipo_advantages, sequence_log_ppl
from dipo_openrlhf.events import read_events
from dipo_openrlhf.openrlhf_patch import checkpoints, left_over
from dipo_openrlhf.openrlhf_patch.run_log import read_metrics

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]

ASYNC = ["--train.async_enable", "true"]
STEPS, GROUP, BATCH = 5, 8, 8
CONFIG = DipoConfig(min_side_samples=10)


@pytest.fixture(scope="module")
def run_dir(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five steps, every batch stored, checkpoints after 2 and 4."""
    recipe, run_dir = write_recipe(tmp_path_factory.mktemp("async"), small_model, steps=STEPS)
    command = Dipo(["train", str(recipe), *ASYNC, "--run.dump_experiences", "true"]).start()
    status, output = command.finish()
    assert status == 0, output
    assert command.left_over_after(20) == []
    return run_dir


def log_ppl_of(parts: list[dict[str, Any]], name: str) -> torch.Tensor:
    """[P, G] from the stored batch's log-probabilities of that name."""
    return sequence_log_ppl(whole(parts, name), whole(parts, "action_mask")).reshape(-1, GROUP)


def test_it_trains_every_prompt_and_says_so(run_dir):
    rows = read_metrics(run_dir)
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    prompts = [group["prompt"] for step in rollouts(run_dir).values() for group in step]
    assert len(prompts) == len(set(prompts)) == STEPS * BATCH
    totals = [event["total_steps"] for event in read_events(run_dir) if event["stage"] == "training"]
    assert set(totals) == {STEPS}
    assert [found.step for found in checkpoints.whole_checkpoints(run_dir / "ckpt")] == [2, 4]
    check_metrics_follow(run_dir, CONFIG)


def test_samples_are_one_update_old_at_most(run_dir):
    """async_queue_size is 1: a batch is begun once the one before it is taken. The first has the initial weights, those
    that are trained; each later one is sampled while the one before it trains."""
    rows = read_metrics(run_dir)
    found = [row["async/staleness_max"] for row in rows]
    assert found[0] == 0
    assert set(found) <= {0, 1}
    assert 1 in found
    for row in rows:
        assert row["async/staleness_mean"] == row["async/staleness_max"]  # no sample of a batch is left over
        assert row["async/left_over_samples"] == 0
        assert row["async/queue_seconds"] >= 0
        assert row["async/wait_seconds"] >= 0
        assert row["async/doubtful_log_probs"] == 0
        assert "async/weights_step" not in row


def test_perplexities_are_those_of_the_weights_that_sampled(run_dir):
    """The log's are the engine's. Where a batch is stale, the actor's own are others: it has moved."""
    logged = rollouts(run_dir)
    for row in read_metrics(run_dir):
        step = row["step"]
        parts = stored(run_dir / "experiences" / f"step_{step}.pt")
        rollout, actor = log_ppl_of(parts, "rollout_log_probs"), log_ppl_of(parts, "action_log_probs")
        written = torch.tensor([group["log_ppl"] for group in logged[step]])
        torch.testing.assert_close(written, rollout, rtol=0, atol=2e-7)
        apart = (rollout - actor).abs().max().item()
        assert (apart > 1e-3) is bool(row["async/staleness_max"]), (step, apart)


def test_queue_threshold_and_advantages_follow_from_the_stored_batches(run_dir):
    """The algorithm replayed over tokens, verdicts and rollout log-probabilities alone."""
    queue = PerplexityQueue(CONFIG.queue_batches)
    fired = 0
    for row in read_metrics(run_dir):
        parts = stored(run_dir / "experiences" / f"step_{row['step']}.pt")
        mask = whole(parts, "action_mask").bool()
        scores = whole(parts, "scores").float().reshape(-1, GROUP)
        advantages, metrics = dipo_advantages(
            scores, scores > 0.5, log_ppl_of(parts, "rollout_log_probs"), CONFIG, queue
        )
        expected = advantages.reshape(-1, 1).expand(mask.shape)
        torch.testing.assert_close(whole(parts, "advantages")[mask], expected[mask], rtol=0, atol=1e-6)
        if row["dipo/threshold_ppl"] is not None:
            assert row["dipo/threshold_ppl"] == pytest.approx(metrics["dipo/threshold_ppl"], rel=1e-6)
        fired += int(row["dipo/fired_hard"] + row["dipo/fired_easy"])
        assert row["dipo/queue_size"] == len(queue.tensors()[0])
        if row["step"] in (2, 4):
            saved = PerplexityQueue(CONFIG.queue_batches)
            saved.load_state_dict(client_state(run_dir, row["step"])["dipo"]["queue"])
            for ours, theirs in zip(queue.tensors(), saved.tensors(), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def client_state(run_dir: Path, step: int) -> dict[str, Any]:
    path = run_dir / "ckpt" / "_actor" / f"global_step{step}" / "mp_rank_00_model_states.pt"
    return torch.load(path, weights_only=False)


def test_a_checkpoint_says_where_its_own_batches_end(run_dir):
    """Not where the generator is, which has the next batch in the queue or in the making."""
    for step in (2, 4):
        state = client_state(run_dir, step)
        assert state["total_consumed_prompts"] == step * BATCH
        assert state["data_loader_state_dict"]["_num_yielded"] == step * BATCH
        assert left_over.load(run_dir / "ckpt", step) is None


def _killed_and_resumed(folder: Path, model: Path, steps: int, *arguments: str) -> Path:
    """A run whose command is killed once a step beyond its first checkpoint is logged, then resumed to its end."""
    recipe, run_dir = write_recipe(folder, model, steps=steps)
    command = Dipo(["train", str(recipe), *ASYNC, *arguments]).start()
    assert command.process is not None
    wait_until(lambda: checkpoints.resumable_steps(run_dir / "ckpt"), command.process)
    command.process.kill()
    command.process.wait(10)
    assert command.left_over_after(90) == []
    status, output = run_dipo("train", str(recipe), *ASYNC, *arguments, "--resume")
    assert status == 0, output
    return run_dir


@pytest.mark.slow
@pytest.mark.parametrize("over", [8, 20])
def test_a_killed_run_goes_on_with_every_prompt_trained_once(small_model, tmp_path, over):
    steps = 14
    run_dir = _killed_and_resumed(
        tmp_path, small_model, steps, "--rollout.vllm_generate_batch_size", str(over)
    )
    found = rollouts(run_dir)
    assert sorted(found) == list(range(1, steps + 1))
    prompts = Counter(group["prompt"] for step in found.values() for group in step)
    assert set(prompts.values()) == {1}
    assert len(prompts) == steps * BATCH
    rows = read_metrics(run_dir)
    assert [row["dipo/queue_size"] for row in rows] == [64] + [128] * (steps - 1)
    check_metrics_follow(run_dir, CONFIG)
    left = [row["async/left_over_samples"] for row in rows]
    if over == BATCH:
        assert set(left) == {0}
        return
    # 20 prompts sampled at a time, 8 trained: 12, 4, then 4 + 20 - 8 = 16, 8, 0 are left.
    assert left[:5] == [96, 32, 128, 64, 0]
    assert max(row["async/staleness_max"] for row in rows) > 1  # what is left over waits for its turn


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--dipo.method", "dapo"], id="dapo"),
        pytest.param(["--dipo.keep_and_refill", "true", "--train.batch_size", "96"], id="keep_and_refill"),
    ],
)
def test_refilled_batches_bring_their_metrics(small_model, tmp_path, arguments):
    recipe, run_dir = write_recipe(tmp_path, small_model, steps=4)
    status, output = run_dipo("train", str(recipe), *ASYNC, *arguments)
    assert status == 0, output
    rows = read_metrics(run_dir)
    assert sum(row["refill/groups_sampled"] for row in rows) <= 4 * BATCH
    for row in rows:
        groups = {name: row[f"dipo/groups_{name}"] for name in ("hard", "easy", "normal")}
        assert groups["normal"] + row["refill/groups_missing"] == BATCH
        if "dapo" in arguments:
            assert groups["hard"] == groups["easy"] == 0
        else:
            assert row["refill/groups_sampled"] == sum(groups.values())
        assert row["async/staleness_max"] in (0, 1)


@pytest.mark.slow
def test_partial_rollouts_go_on_with_the_new_weights(small_model, tmp_path):
    recipe, run_dir = write_recipe(tmp_path, small_model, steps=6)
    arguments = ["--train.partial_rollout_enable", "true", "--run.dump_experiences", "true"]
    status, output = run_dipo("train", str(recipe), *ASYNC, *arguments)
    assert status == 0, output
    rows = read_metrics(run_dir)
    assert [row["step"] for row in rows] == list(range(1, 7))
    assert set(row["async/staleness_max"] for row in rows) <= {0, 1}
    check_metrics_follow(run_dir, CONFIG)


@pytest.mark.slow
def test_a_generator_that_fails_ends_the_run_in_one_line(small_model, tmp_path):
    """The training actor waits for a batch that never comes: the run must end all the same."""
    recipe, _ = write_recipe(tmp_path, small_model)
    (tmp_path / "reward.py").write_text(
        "def reward_func(queries, prompts, labels, **unused):\n    return None\n"
    )
    command = Dipo(
        [
            "train",
            str(recipe),
            *ASYNC,
            "--dipo.method",
            "dapo",
            "--reward.remote_url",
            str(tmp_path / "reward.py"),
        ]
    ).start()
    status, output = command.finish()
    assert status == 2, output
    (line,) = [line for line in output.splitlines() if line.startswith("error:")]
    assert "a sample has no score: the reward function of reward.remote_url returned none" in line
    assert "Traceback" not in output
    assert command.left_over_after(20) == []
