"""A run of 20 steps, killed at step 11 and resumed, equals an uninterrupted one."""

from __future__ import annotations

import pytest
from stack import Dipo, check_equal_rollouts, check_equal_steps, rollouts, run_dipo, wait_until, write_recipe

from dipo_openrlhf.record import checkpoints
from dipo_openrlhf.record.run_log import read_metrics

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.timeout(1800)]

STEPS, KILLED_AT = 20, 11
# Two optimizer windows a step, in an order drawn for each step, and two passes over the prompts, each in a new order.
OPTIONS = ["--ckpt.save_steps", "1", "--train.batch_size", "32"]


def test_killed_at_step_11_and_resumed_equals_an_uninterrupted_run(small_model, tmp_path):
    recipe, uninterrupted = write_recipe(
        tmp_path / "uninterrupted", small_model, steps=STEPS, episodes=2, keep=2
    )
    status, output = run_dipo("train", str(recipe), *OPTIONS)
    assert status == 0, output

    recipe, run_dir = write_recipe(tmp_path / "killed", small_model, steps=STEPS, episodes=2, keep=2)
    command = Dipo(["train", str(recipe), *OPTIONS]).start()
    assert command.process is not None
    saved = lambda: checkpoints.resumable_steps(run_dir / "ckpt")  # noqa: E731
    wait_until(lambda: saved() and saved()[-1] >= KILLED_AT, command.process)
    command.process.kill()
    command.process.wait(10)
    assert command.left_over_after(90) == []
    assert KILLED_AT <= saved()[-1] < STEPS
    status, output = run_dipo("train", str(recipe), "--resume", *OPTIONS)
    assert status == 0, output

    check_equal_rollouts(rollouts(uninterrupted), rollouts(run_dir))
    steps, twins = read_metrics(uninterrupted), read_metrics(run_dir)
    assert [row["step"] for row in steps] == list(range(1, STEPS + 1))
    check_equal_steps(steps, twins)
    seen = [group["prompt"] for step in rollouts(run_dir).values() for group in step]
    first, second = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    assert sorted(first) == sorted(second)
    assert first != second
