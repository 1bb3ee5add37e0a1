"""A run that is asked to stop ends its step, saves it and resumes from it; asked twice, it ends at once."""

from __future__ import annotations

import json
import signal
import time

import pytest
from stack import Dipo, rollouts, run_dipo, wait_until, write_recipe

from dipo_eval.subject.marker import complete_checkpoints
from dipo_openrlhf.record import checkpoints
from dipo_openrlhf.record.run_log import read_metrics

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.timeout(1500)]

ASYNC = ("--train.async_enable", "true", "--vllm.num_engines", "1")
SAVE_STEPS = ("--ckpt.save_steps", "100")
STEPS = 6


def steps_done(run_dir) -> int:
    rows = read_metrics(run_dir) if (run_dir / "metrics.jsonl").exists() else []
    return int(rows[-1]["step"]) if rows else 0


@pytest.mark.parametrize("mode", [(), ASYNC], ids=["synchronous", "asynchronous"])
def test_no_step_is_lost(small_model, tmp_path, mode):
    recipe, run_dir = write_recipe(tmp_path, small_model, steps=STEPS)
    command = Dipo(["train", str(recipe), *SAVE_STEPS, *mode]).start()
    assert command.process is not None
    wait_until(lambda: steps_done(run_dir) >= 1, command.process)
    command.process.send_signal(signal.SIGTERM)
    status, output = command.finish()
    assert status == 130, output
    saved = steps_done(run_dir)
    assert 1 < saved < STEPS
    assert f"interrupted; all processes have ended; step {saved} is saved: continue with --resume" in output
    assert "asked to stop (SIGTERM): at most 300 s" in output
    assert not command.left_over_after(30)
    ckpt = run_dir / "ckpt"
    (one,) = complete_checkpoints(ckpt)
    assert (one.step, one.marker["scheduled"], one.marker["weights_finite"]) == (saved, False, True)
    assert checkpoints.resumable_steps(ckpt) == [saved]
    assert json.loads((ckpt / "ENDED.json").read_text()) == {"outcome": "interrupted"}

    status, output = run_dipo("train", str(recipe), *SAVE_STEPS, *mode, "--resume")
    assert status == 0, output
    assert [row["step"] for row in read_metrics(run_dir)] == list(range(1, STEPS + 1))
    prompts = [group["prompt"] for step in rollouts(run_dir).values() for group in step]
    assert len(prompts) == len(set(prompts)) == 8 * STEPS, "a prompt was trained twice, or not at all"


def test_a_second_signal_ends_it_at_once(small_model, tmp_path):
    recipe, run_dir = write_recipe(tmp_path, small_model, steps=200)
    command = Dipo(["train", str(recipe), *SAVE_STEPS]).start()
    assert command.process is not None
    wait_until(lambda: steps_done(run_dir) >= 1, command.process)
    command.process.send_signal(signal.SIGUSR1)
    time.sleep(0.1)
    command.process.send_signal(signal.SIGTERM)
    status, output = command.finish(120)
    assert status == 130, output
    assert not command.left_over_after(30)
    assert not complete_checkpoints(run_dir / "ckpt")
