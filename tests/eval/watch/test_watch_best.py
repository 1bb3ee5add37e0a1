"""Keep-best by evaluation, the line of a checkpoint, and what goes to wandb and TensorBoard."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dipo_eval.checkpoints import generation_hash
from dipo_eval.identity import engine_version
from dipo_eval.results import load_result, suite_folder, write_suite
from dipo_eval.watch.best import BestRule, mark_best
from dipo_eval.watch.loop import WatchOptions
from dipo_eval.watch.marker import BEST, MARKER, read_json
from dipo_eval.watch.report import checkpoint_line
from dipo_eval.watch.tracking import Trackers, figures, track

SUITE = "arithmetic-control"


def result(options: WatchOptions, folder: Path, weights_hash: str, accuracy: float) -> dict[str, Any]:
    metric = {"value": accuracy, "low": accuracy - 0.1, "high": accuracy + 0.1, "n": 2, "k": 1}
    return {
        "model": {"weights_hash": weights_hash, "generation_hash": generation_hash(folder)},
        "settings": options.plan.options.settings() | {"engine_version": engine_version("hf")},
        "hashes": {"suite_hash": options.plan.suites[SUITE], "items_sha256": "i"},
        "run": "r", "checkpoint": "c", "suite": SUITE, "n_items": 2, "n_samples_per_item": 1,
        "versions": {}, "seconds": {}, "created": "2026-05-04T09:30:00+00:00",
        "metrics": {"accuracy": metric, "pass@4": {**metric, "value": 0.9}},
        "counts": {"correct": 1, "wrong": 0, "undecided": 0, "truncated": 0},
    }  # fmt: skip


@pytest.fixture
def scored(add_checkpoint: Callable[..., Path], options: Callable[..., WatchOptions]) -> Callable[..., Path]:
    """Add a checkpoint with a result of that accuracy."""

    def add(step: int, accuracy: float) -> Path:
        folder = add_checkpoint(step)
        made = options()
        marker = read_json(folder / MARKER)
        assert marker is not None
        where = suite_folder(made.plan.results_dir, "r", f"global_step{step}", SUITE)
        write_suite(where, [{"item_id": "a"}], result(made, folder, marker["weights_hash"], accuracy))
        return folder

    return add


def test_one_mark_and_it_moves(
    scored: Callable[..., Path], options: Callable[..., WatchOptions], ckpt: Path
) -> None:
    made = options()
    assert mark_best(ckpt, made.plan, BestRule(SUITE)) is None
    first = scored(1, 0.5)
    assert mark_best(ckpt, made.plan, BestRule(SUITE)) == 1
    equal = scored(2, 0.5)
    assert mark_best(ckpt, made.plan, BestRule(SUITE)) == 1
    better = scored(3, 0.6)
    assert mark_best(ckpt, made.plan, BestRule(SUITE)) == 3
    assert [(folder / BEST).exists() for folder in (first, equal, better)] == [False, False, True]
    assert read_json(better / BEST) == {
        "step": 3, "suite": SUITE, "metric": "accuracy", "run": "r", "value": 0.6, "low": 0.5, "high": 0.7,
        "n": 2, "k": 1,
    }  # fmt: skip
    scored(4, 0.1)
    assert mark_best(ckpt, made.plan, BestRule(SUITE)) == 3
    assert mark_best(ckpt, made.plan, BestRule(SUITE, "pass@4")) == 1
    assert mark_best(ckpt, made.plan, BestRule(SUITE, "no_such_metric")) is None


def test_the_best_is_one_of_those_that_compare_with_the_newest(
    scored: Callable[..., Path], options: Callable[..., WatchOptions], ckpt: Path
) -> None:
    """The first was asked with another chat template: better or not, it says nothing about the others."""
    made = options()
    first = scored(1, 0.9)
    where = suite_folder(made.plan.results_dir, "r", "global_step1", SUITE)
    stored = load_result(where)
    stored["settings"]["chat_template_hash"] = "another"
    write_suite(where, [{"item_id": "a"}], stored)
    assert mark_best(ckpt, made.plan, BestRule(SUITE)) == 1
    scored(2, 0.4)
    scored(3, 0.3)
    assert mark_best(ckpt, made.plan, BestRule(SUITE)) == 2
    assert not (first / BEST).exists()


def test_a_result_of_other_weights_marks_nothing(
    scored: Callable[..., Path], options: Callable[..., WatchOptions], ckpt: Path
) -> None:
    folder = scored(1, 0.5)
    (folder / MARKER).write_text('{"step": 1, "weights_hash": "resumed and written anew"}')
    assert mark_best(ckpt, options().plan, BestRule(SUITE)) is None


def test_the_line_compares_with_the_first_and_the_best(
    options: Callable[..., WatchOptions], tmp_path: Path
) -> None:
    rule = BestRule(SUITE)
    results = {SUITE: result(options(), tmp_path, "h", 0.55)}
    assert checkpoint_line("s9", results, rule, {}) == f"s9: {SUITE} 55.0% (45.0 to 65.0)"
    assert checkpoint_line("s9", results, rule, {"s0": 0.5, "s5": 0.6}).endswith(
        "; +5.0 points against s0, -5.0 points against s5"
    )
    assert checkpoint_line("s9", results, rule, {"s0": 0.5}).endswith(
        "; +5.0 points against s0, the best so far"
    )


def test_figures_go_to_wandb_offline_and_tensorboard_at_their_step(
    tmp_path: Path, options: Callable[..., WatchOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    row = figures({SUITE: result(options(), tmp_path, "h", 0.55)})
    assert row[f"eval/{SUITE}/accuracy"] == 0.55
    assert row[f"eval/{SUITE}/accuracy/low"] == pytest.approx(0.45)
    assert row[f"eval/{SUITE}/count/truncated"] == 0
    trackers = Trackers(
        "p", "abc123", "r-eval", "r", wandb_dir=str(tmp_path), tensorboard=str(tmp_path / "tb")
    )
    assert track(trackers, 40, row) is None
    assert track(trackers, 20, row) is None  # an older one, evaluated later
    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    scalars = events.Scalars(f"eval/{SUITE}/accuracy")
    assert sorted(event.step for event in scalars) == [20, 40]
    assert scalars[0].value == pytest.approx(0.55)
    runs = sorted(tmp_path.glob("wandb/offline-run-*-abc123/*.wandb"))
    assert runs
    content = b"".join(path.read_bytes() for path in runs)
    assert b"eval/step" in content
    assert f"eval/{SUITE}/accuracy".encode() in content


def test_a_tracker_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    problem = track(Trackers("no/slash/allowed", wandb_dir=str(tmp_path)), 1, {"eval/a": 1.0})
    assert problem
    assert "\n" not in problem
    assert track(Trackers(), 1, {}) is None
    assert os.environ["WANDB_MODE"] == "offline"
