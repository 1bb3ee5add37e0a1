"""`dipo quickstart --task tools` on the real stack: a few steps, both suites, the board."""

from __future__ import annotations

import json

import pytest
from stack import Dipo, rollouts

from dipo_eval.results.store import read_result, read_samples
from dipo_openrlhf.record.run_log import read_metrics

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
STEPS, PROMPTS = 3, 16
SIZES = {
    "rollout.batch_size": PROMPTS, "train.batch_size": 8 * PROMPTS, "ckpt.save_steps": STEPS, "evaluate.limit": 40,
}  # fmt: skip


def test_calls_are_learnt_graded_and_shown(tmp_path):
    run_dir = tmp_path / "run"
    sizes = [word for key, value in SIZES.items() for word in (f"--{key}", str(value))]
    arguments = ["quickstart", "--task", "tools", "--steps", str(STEPS), "--run-dir", str(run_dir), *sizes]
    status, output = Dipo(arguments).start().finish(1100)
    assert status == 0, output
    assert "is not graded as correct" not in output, "the check of labels knows the form of these"
    metrics = read_metrics(run_dir)
    assert [row["step"] for row in metrics] == [1, 2, 3]
    assert all(0 < row["rollout/accuracy"] < 1 for row in metrics)
    groups = [group for step in rollouts(run_dir).values() for group in step]
    assert len(groups) == STEPS * PROMPTS
    for group in groups:
        for correct, reward in zip(group["correct"], group["rewards"], strict=True):
            assert bool(correct) == (reward == 4.0), "b is 1 at the full score alone"
    results = run_dir / "results" / "quickstart_tools"
    for step in (0, STEPS):
        control = read_result(results / f"global_step{step}" / "tools-control")
        bfcl = read_result(results / f"global_step{step}" / "bfcl-basic")
        assert control is not None
        assert bfcl is not None
        assert control["metrics"]["accuracy"]["value"] > 0.1
        assert {"accuracy/simple", "accuracy/irrelevance"} <= set(control["metrics"])
        assert {"accuracy/simple_python", "accuracy/irrelevance"} <= set(bfcl["metrics"])
    offered = {
        name["name"]
        for row in read_samples(results / "global_step0" / "tools-control")
        for name in row["functions"]
    }
    trained = [json.loads(line) for line in (run_dir / "prompts.jsonl").read_text().splitlines()]
    names = {one["name"] for row in trained for one in json.loads(row["label"])["functions"]}
    assert not offered & names
    board = (run_dir / "board.html").read_text()
    assert "tools-control" in board
    assert "bfcl-basic" in board
