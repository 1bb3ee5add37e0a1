"""A training that diverges leaves its last usable checkpoint and a one-line error, and is not restarted."""

from __future__ import annotations

import math

import pytest
from stack import Dipo, write_recipe

from dipo_eval.subject.finite_weights import first_not_finite
from dipo_openrlhf.record import checkpoints
from dipo_openrlhf.record.run_log import read_metrics

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]

# The first update has a learning rate of 0, the second one of 1e30: its loss and its gradient are still as good as any.
DIVERGES = [
    "--actor.lr_scheduler", "constant_with_warmup", "--actor.lr_warmup_ratio", "0.25", "--actor.adam.lr", "1",
    "--actor.adam.weight_decay", "1e38",
]  # fmt: skip


def test_weights_that_overflow_are_not_marked_complete(small_model, tmp_path):
    recipe, run_dir = write_recipe(tmp_path, small_model)
    command = Dipo(
        [
            "train",
            str(recipe),
            *DIVERGES,
            "--ckpt.save_steps",
            "1",
            "--ckpt.max_num",
            "1",
            "--run.max_restarts",
            "2",
        ]
    ).start()
    status, output = command.finish()
    assert status == 2, output
    (line,) = [line for line in output.splitlines() if line.startswith("error:")]
    assert "restart" not in output
    assert "Traceback" not in output
    ckpt = run_dir / "ckpt"
    assert "step 2: its weights hold NaN, infinite or overflowing numbers" in line
    assert "step 1 is complete" in line
    assert f"actor.model_name_or_path {ckpt / 'global_step1_hf'}" in line
    assert checkpoints.resumable_steps(ckpt) == [1]
    assert (ckpt / "_actor" / "latest").read_text() == "global_step1"
    assert first_not_finite(ckpt / "global_step1_hf") is None
    assert first_not_finite(ckpt / "global_step2_hf") is not None
    assert all(math.isfinite(row["policy_loss"]) for row in read_metrics(run_dir))
    assert command.left_over_after(20) == []
