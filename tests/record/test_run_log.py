"""metrics.jsonl and rollouts.jsonl survive crashes and hold plain JSON."""

from __future__ import annotations

import json

import pytest
import torch

from dipo_eval.results import not_finite
from dipo_openrlhf.record import run_log


def test_metrics_are_plain_json(tmp_path):
    status = {
        "a": torch.tensor(1.5),
        "b": float("nan"),
        "c": None,
        "d": "words",
        "e": [1, 2],
        "f": True,
        "generated_samples": ["text", 1.0],
    }
    run_log.append_metrics(tmp_path, 3, status)
    row = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert (row["step"], row["a"], row["b"], row["c"], row["d"], row["e"], row["f"]) == (
        3, 1.5, None, None, "words", None, True,
    )  # fmt: skip
    assert "generated_samples" not in row
    assert row["not_finite"] == {"b": "nan"}


def test_losses_that_are_no_numbers_are_told_apart_from_figures_that_are_missing(tmp_path):
    status = {
        "policy_loss": torch.tensor(float("nan")), "actor_grad_norm": float("inf"), "vllm_kl": float("-inf"),
        "entropy_loss": 0.5, "kl": None, "dipo/threshold_ppl": float("nan"), "dipo/delta": None,
    }  # fmt: skip
    run_log.append_metrics(tmp_path, 1, {"policy_loss": 0.25, "dipo/threshold_ppl": None})
    run_log.append_metrics(tmp_path, 2, status)
    first, second = run_log.read_metrics(tmp_path)
    assert "not_finite" not in first
    assert second["policy_loss"] is None
    assert not_finite.not_finite(first) == {}
    assert not_finite.not_finite(second) == {
        "policy_loss": "NaN", "actor_grad_norm": "infinite", "vllm_kl": "minus infinity",
    }  # fmt: skip
    assert not_finite.sentence([first]) is None
    said = not_finite.sentence([first, second])
    assert said is not None
    assert said.startswith(
        "not a number: actor_grad_norm at step 2 (infinite); policy_loss at step 2 (NaN); "
    )
    # A log from before the kinds were written: a loss is never missing.
    assert not_finite.not_finite({"step": 1, "policy_loss": None, "kl": None}) == {
        "policy_loss": "not a number"
    }


def test_lines_that_are_no_steps_are_skipped(tmp_path):
    lines = [b"[1]", b'{"x": 1}', b'{"step": "2"}', b"\xff", b"[" * 100_000, b'{"step": 4}']
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    assert run_log.read_metrics(tmp_path) == [{"step": 4}]


def test_a_repeated_step_counts_once_and_a_broken_line_not_at_all(tmp_path):
    run_log.append_metrics(tmp_path, 1, {"x": 1})
    run_log.append_metrics(tmp_path, 2, {"x": 2})
    run_log.append_metrics(tmp_path, 2, {"x": 20})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 3, "x"')
    assert [(row["step"], row["x"]) for row in run_log.read_metrics(tmp_path)] == [(1, 1), (2, 20)]


def test_a_resume_voids_the_steps_after_its_start(tmp_path):
    for step in (1, 2, 3, 4, 3):
        run_log.append_metrics(tmp_path, step, {})
    assert [row["step"] for row in run_log.read_metrics(tmp_path)] == [1, 2, 3]


def test_no_metrics_yet(tmp_path):
    assert run_log.read_metrics(tmp_path) == []


def test_rollouts_hold_one_line_a_group(tmp_path):
    rollouts = run_log.Rollouts(
        prompts=["p", "q"],
        correct=torch.tensor([[True, False], [True, True]]),
        rewards=torch.tensor([[1.0, 0.0], [0.5, 1.0]]),
        log_ppl=torch.tensor([[0.25, float("nan")], [1.0, 2.0]]),
        fired=torch.tensor([False, True]),
    )
    run_log.append_rollouts(tmp_path, 7, rollouts)
    rows = [json.loads(line) for line in (tmp_path / "rollouts.jsonl").read_text().splitlines()]
    assert [row["group"] for row in rows] == [0, 1]
    assert rows[0]["correct"] == [1, 0]
    assert rows[0]["log_ppl"] == [0.25, None]
    assert rows[1]["fired"] is True
    assert rows[0]["prompt"] != rows[1]["prompt"]
    assert len(rows[0]["prompt"]) == 12


@pytest.mark.parametrize("left", ["", '{"step": 1}\n', '{"step": 1}\n{"ste', '{"st'])
def test_half_a_line_of_a_killed_run_does_not_spoil_the_next(tmp_path, left):
    (tmp_path / "metrics.jsonl").write_text(left)
    run_log.append_metrics(tmp_path, 2, {"policy_loss": 0.5})
    whole = left.startswith('{"step": 1}')
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == ([1, 2] if whole else [2])
