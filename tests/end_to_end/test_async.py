"""Asynchronous training on the real stack: sampling and training at the same time, with one queue of perplexities."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from stack import Dipo, check_metrics_follow, check_phases, rollouts, run_dipo, wait_until, write_recipe
from test_against_reference import stored, whole
from transformers import AutoModelForCausalLM

from dipo_openrlhf.algorithm import DipoConfig, PerplexityQueue, dipo_advantages, sequence_log_ppl
from dipo_openrlhf.algorithm.reference import score_tokens
from dipo_openrlhf.record import checkpoints
from dipo_openrlhf.record.events import read_events
from dipo_openrlhf.record.run_log import read_metrics

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]

# Without the perplexity spaces DiPO acts on every extreme group, so that there is something to compare.
ASYNC = ["--train.async_enable", "true", "--dipo.psd", "false"]
STEPS, GROUP, BATCH = 5, 8, 8
CONFIG = DipoConfig(min_side_samples=10, psd=False)


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
    """[P, G] from the stored batch's log-probabilities of that name.

    A micro-batch at a time, as in production: a float32 sum depends on how wide its row is padded.
    """
    found = torch.cat([sequence_log_ppl(part[name], part["action_mask"]) for part in parts])
    result = torch.empty_like(found)
    result[torch.tensor([row for part in parts for row in part["index"]])] = found
    return result.reshape(-1, GROUP)


def test_it_trains_every_prompt_and_logs_it(run_dir):
    rows = read_metrics(run_dir)
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    prompts = [group["prompt"] for step in rollouts(run_dir).values() for group in step]
    assert len(prompts) == len(set(prompts)) == STEPS * BATCH
    totals = [event["total_steps"] for event in read_events(run_dir) if event["stage"] == "training"]
    assert set(totals) == {STEPS}
    assert [found.step for found in checkpoints.complete_checkpoints(run_dir / "ckpt")] == [2, 4, 5]
    check_metrics_follow(run_dir, CONFIG)


def test_samples_are_one_update_old_at_most(run_dir):
    """async_queue_size is 1: a batch is started when the previous one is taken. The first one has the initial weights;
    each later one is sampled while the previous one trains."""
    rows = read_metrics(run_dir)
    found = [row["async/staleness_max"] for row in rows]
    assert found[0] == 0
    assert set(found) <= {0, 1}
    assert 1 in found
    for row in rows:
        assert row["async/staleness_mean"] == row["async/staleness_max"]  # no sample is carried over
        assert row["async/carried_over_samples"] == 0
        assert row["async/queue_seconds"] >= 0
        assert row["async/wait_seconds"] >= 0
        assert row["async/doubtful_log_probs"] == 0
        assert "async/weights_step" not in row


def test_the_phases_of_a_step_add_up_to_it(run_dir):
    """Of the training actor's time; the engines work at the same time, and neither is idle while the other works."""
    rows = read_metrics(run_dir)
    check_phases(rows)
    for row in rows:
        assert row["timing/phases/generate"] == 0
        assert row["timing/phases/wait"] >= 0.9 * row["async/wait_seconds"]
        assert 0 <= row["gpu/idle_share"] < 1
        assert row["throughput/generated_tokens"] >= 0
    assert sum(row["throughput/generated_tokens"] for row in rows) > 0


def test_perplexities_are_those_of_the_weights_that_sampled(run_dir):
    """The log has the engine's. Where a batch is stale, the actor's own differ: it has been updated."""
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
                assert torch.equal(ours, theirs)
    assert fired >= 1


def client_state(run_dir: Path, step: int) -> dict[str, Any]:
    path = run_dir / "ckpt" / "_actor" / f"global_step{step}" / "mp_rank_00_model_states.pt"
    return torch.load(path, weights_only=False)


def test_a_checkpoint_has_the_position_of_its_own_batches(run_dir):
    """Not that of the generator, which has sampled further batches."""
    for step in (2, 4):
        state = client_state(run_dir, step)
        assert state["total_consumed_prompts"] == step * BATCH
        assert state["data_loader_state_dict"]["_num_yielded"] == step * BATCH
        assert not list((run_dir / "ckpt" / "_actor").glob(f"global_step{step}/dipo_left_over.pt"))


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
def test_a_killed_run_resumes_with_every_prompt_trained_once(small_model, tmp_path, over):
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
    left = [row["async/carried_over_samples"] for row in rows]
    if over == BATCH:
        assert set(left) == {0}
        return
    # 20 prompts sampled at a time, 8 trained: 12, 4, then 4 + 20 - 8 = 16, 8, 0 are left.
    assert left[:5] == [96, 32, 128, 64, 0]
    assert max(row["async/staleness_max"] for row in rows) > 1  # carried-over samples are trained later


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--dipo.method", "dapo"], id="dapo"),
        pytest.param(["--dipo.keep_and_refill", "true", "--train.batch_size", "96"], id="keep_and_refill"),
    ],
)
def test_refilled_batches_have_metrics(small_model, tmp_path, arguments):
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
def test_partial_rollouts_continue_with_the_new_weights(small_model, tmp_path):
    """A response that was begun before an update and ended after it: its first tokens have the log-probabilities of one
    checkpoint, its last ones those of the next, and no checkpoint has both. 24 prompts are sampled at a time, which
    takes longer than to train 8, so that updates come in the middle."""
    steps = 9
    recipe, run_dir = write_recipe(tmp_path, small_model, steps=steps)
    arguments = [
        "--train.partial_rollout_enable", "true", "--rollout.vllm_generate_batch_size", "24",
        "--run.dump_experiences", "true", "--ckpt.save_steps", "1",
    ]  # fmt: skip
    status, output = run_dipo("train", str(recipe), *ASYNC, *arguments)
    assert status == 0, output
    assert [row["step"] for row in read_metrics(run_dir)] == list(range(1, steps + 1))
    check_metrics_follow(run_dir, CONFIG)
    exports = [small_model, *(run_dir / "ckpt" / f"global_step{step}_hf" for step in range(1, steps))]
    models = [AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval() for path in exports]
    spanning = 0
    for step in range(1, steps + 1):
        spanning += _spanning(stored(run_dir / "experiences" / f"step_{step}.pt"), models[:step])
    assert spanning > 0


def _spanning(parts: list[dict[str, Any]], models: list[torch.nn.Module], close: float = 2e-3) -> int:
    """Responses whose two halves are of different models, by their recorded log-probabilities."""
    mask, recorded = whole(parts, "action_mask").bool(), whole(parts, "rollout_log_probs")
    tokens, attention = whole(parts, "sequences"), whole(parts, "attention_mask")
    place = mask.cumsum(-1)
    halves = [mask & (place <= mask.sum(-1, keepdim=True) // 2)]
    halves.append(mask & ~halves[0])
    fits = []  # of every model and half: [B] bool
    with torch.no_grad():
        for model in models:
            found = score_tokens(model, tokens, attention, mask.shape[1], 1.0)[0]
            apart = (found - recorded).abs()
            fits.append(torch.stack([apart.masked_fill(~half, 0).amax(-1) < close for half in halves]))
    fit = torch.stack(fits)  # [models, 2, B]
    return int((fit[:, 0].any(0) & fit[:, 1].any(0) & ~fit.all(1).any(0)).sum())


FAILING_REWARD = """
calls = 0


def reward_func(queries, prompts, labels, **unused):
    global calls
    calls += 1
    return {"rewards": 1.0} if calls <= 8 else None  # the first are those before the start
"""


@pytest.mark.slow
def test_a_generator_that_fails_ends_the_run_in_one_line(small_model, tmp_path):
    """The training actor waits for a batch that never comes: the run must end nevertheless."""
    recipe, _ = write_recipe(tmp_path, small_model)
    (tmp_path / "reward.py").write_text(FAILING_REWARD)
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
    assert "reward_func fails with ValueError: it returned a NoneType: give " in line
    assert "Traceback" not in output
    assert command.left_over_after(20) == []


HANGING_REWARD = """
import time

calls = 0


def reward_func(queries, prompts, labels, **unused):
    global calls
    calls += 1
    if calls > 192:
        time.sleep(3600)
    return {"rewards": float(calls % 2), "scores": float(calls % 2)}
"""


@pytest.mark.slow
def test_a_generator_that_hangs_is_ended(small_model, tmp_path):
    """With its fourth batch; the training actor has trained the third, and waits for the engine to take its weights."""
    recipe, run_dir = write_recipe(tmp_path, small_model)
    reward = tmp_path / "reward.py"
    reward.write_text(HANGING_REWARD)
    command = Dipo(
        ["train", str(recipe), *ASYNC, "--reward.remote_url", str(reward), "--run.step_timeout", "30"]
    ).start()
    status, output = command.finish()
    assert status == 2, output
    (line,) = [line for line in output.splitlines() if line.startswith("error:")]
    assert "no progress for 30 s while training: the run was ended" in line
    assert "step 2 is saved: continue with --resume" in line
    assert [row["step"] for row in read_metrics(run_dir)] == [1, 2]
    assert command.left_over_after(20) == []
