"""Keep-best by evaluation, the line of a checkpoint, and what goes to wandb and TensorBoard."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dipo_eval.results.store import load_result, suite_folder, write_suite
from dipo_eval.runner.metrics import metrics_from_samples
from dipo_eval.statistics import wilson
from dipo_eval.subject.checkpoints import generation_hash
from dipo_eval.subject.identity import engine_version
from dipo_eval.subject.marker import BEST, MARKER, read_json
from dipo_eval.watch.best import Best, BestRule, choosing_items, mark_best, score
from dipo_eval.watch.loop import WatchOptions
from dipo_eval.watch.report import checkpoint_line, figures
from dipo_eval.watch.tracking import Trackers, track

SUITE = "arithmetic-control"


ITEMS = [f"item{i}" for i in range(20)]


def rows(chosen: int, others: int, k: int = 1) -> list[dict[str, Any]]:
    """Samples in which so many of the 10 items that choose are correct, and so many of the other 10."""
    choosing = choosing_items(ITEMS)
    left = {True: chosen, False: others}
    made = []
    for item in ITEMS:
        correct = left[item in choosing] > 0
        left[item in choosing] -= 1
        for sample in range(k):
            status = "correct" if correct and sample < max(1, k - 1) else "wrong"
            made.append({"item_id": item, "sample": sample, "status": status, "extracted": "1"})
    return made


def result(
    options: WatchOptions, folder: Path, weights_hash: str, samples: list[dict[str, Any]]
) -> dict[str, Any]:
    k = len(samples) // len(ITEMS)
    return {
        "model": {"weights_hash": weights_hash, "generation_hash": generation_hash(folder)},
        "settings": options.plan.options.settings() | {"engine_version": engine_version("hf")},
        "hashes": {"suite_hash": options.plan.suites[SUITE], "items_sha256": "i"},
        "run": "r", "checkpoint": "c", "suite": SUITE, "n_items": len(ITEMS), "n_samples_per_item": k,
        "versions": {}, "seconds": {}, "created": "2026-05-04T09:30:00+00:00",
        "metrics": metrics_from_samples(samples),
        "counts": {"correct": 1, "wrong": 0, "undecided": 0, "truncated": 0},
    }  # fmt: skip


@pytest.fixture
def scored(add_checkpoint: Callable[..., Path], options: Callable[..., WatchOptions]) -> Callable[..., Path]:
    """Add a checkpoint with the result of these rows."""

    def add(step: int, *given: int) -> Path:
        folder = add_checkpoint(step)
        made = options()
        marker = read_json(folder / MARKER)
        assert marker is not None
        where = suite_folder(made.plan.results_dir, "r", f"global_step{step}", SUITE)
        samples = rows(*given)
        write_suite(where, samples, result(made, folder, marker["weights_hash"], samples))
        return folder

    return add


def test_one_mark_and_it_moves(
    scored: Callable[..., Path], options: Callable[..., WatchOptions], ckpt: Path
) -> None:
    made = options()

    def marked(metric: str = "accuracy") -> int | None:
        best = mark_best(ckpt, made.plan, BestRule(SUITE, metric))
        return None if best is None else best.step

    assert marked() is None
    first = scored(1, 5, 5)
    assert marked() == 1
    equal = scored(2, 5, 9)  # better by the other half, which does not choose
    assert marked() == 1
    better = scored(3, 6, 4)
    assert marked() == 3
    assert [(folder / BEST).exists() for folder in (first, equal, better)] == [False, False, True]
    scored(4, 1, 10)
    assert marked() == 3
    assert marked("no_such_metric") is None


def test_the_reported_score_is_that_of_the_half_that_did_not_choose(
    scored: Callable[..., Path], options: Callable[..., WatchOptions], ckpt: Path
) -> None:
    scored(1, 5, 5)
    folder = scored(3, 9, 4)
    mark_best(ckpt, options().plan, BestRule(SUITE))
    low, high = wilson(4, 10)
    assert read_json(folder / BEST) == {
        "step": 3, "suite": SUITE, "metric": "accuracy", "run": "r", "value": 0.4, "low": low, "high": high,
        "n": 10, "k": 1, "chosen_by": 0.9, "chosen_n": 10, "among": 2,
    }  # fmt: skip


def test_metrics_of_several_samples_choose_too(
    scored: Callable[..., Path], options: Callable[..., WatchOptions], ckpt: Path
) -> None:
    scored(1, 5, 5, 4)
    scored(2, 7, 3, 4)
    best = mark_best(ckpt, options().plan, BestRule(SUITE, "pass@4"))
    assert best is not None
    assert (best.step, best.value, best.chosen_by, best.k) == (2, 0.3, 0.7, 4)


@given(st.sets(st.text(max_size=8), max_size=60))
def test_half_of_the_items_choose_in_whatever_order_they_come(items: set[str]) -> None:
    chosen = choosing_items(sorted(items))
    assert chosen <= items
    assert 0 <= 2 * len(chosen) - len(items) <= 1
    assert choosing_items(sorted(items, reverse=True) * 2) == chosen


def test_the_best_is_one_of_those_that_compare_with_the_newest(
    scored: Callable[..., Path], options: Callable[..., WatchOptions], ckpt: Path
) -> None:
    """The first was asked with another chat template: better or not, it says nothing about the others."""
    made = options()
    first = scored(1, 9, 9)
    where = suite_folder(made.plan.results_dir, "r", "global_step1", SUITE)
    stored = load_result(where)
    stored["settings"]["chat_template_hash"] = "another"
    write_suite(where, rows(9, 9), stored)

    def marked() -> tuple[int, int]:
        best = mark_best(ckpt, made.plan, BestRule(SUITE))
        assert best is not None
        return best.step, best.among

    assert marked() == (1, 1)
    scored(2, 4, 4)
    scored(3, 3, 3)
    assert marked() == (2, 2)
    assert not (first / BEST).exists()


def test_a_result_of_other_weights_marks_nothing(
    scored: Callable[..., Path], options: Callable[..., WatchOptions], ckpt: Path
) -> None:
    folder = scored(1, 5, 5)
    (folder / MARKER).write_text('{"step": 1, "weights_hash": "resumed and written anew"}')
    assert mark_best(ckpt, options().plan, BestRule(SUITE)) is None


def test_the_line_compares_with_the_first_and_names_the_best(
    options: Callable[..., WatchOptions], tmp_path: Path
) -> None:
    results = {SUITE: result(options(), tmp_path, "h", rows(5, 6))}
    value = score(results, BestRule(SUITE))
    plain = f"s9: {SUITE} 55.0% (34.2 to 74.2)"
    alone = Best(9, "r", SUITE, "accuracy", 0.6, 0.31, 0.83, 10, 1, chosen_by=0.5, chosen_n=10, among=1)
    assert checkpoint_line("s9", results, value, None, None) == plain
    assert checkpoint_line("s9", results, value, ("s0", 0.5), alone) == f"{plain}; +5.0 points against s0"
    assert checkpoint_line("s9", results, value, ("s0", 0.6), replace(alone, among=3)) == (
        f"{plain}; -5.0 points against s0; best of 3: step 9, chosen by half of the items, 60.0% (31.0 to 83.0) on the "
        "others"
    )


def test_figures_go_to_wandb_offline_and_tensorboard_at_their_step(
    tmp_path: Path, options: Callable[..., WatchOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    row = figures({SUITE: result(options(), tmp_path, "h", rows(5, 6))})
    assert row[f"eval/{SUITE}/accuracy"] == 0.55
    assert row[f"eval/{SUITE}/accuracy/low"] == pytest.approx(wilson(11, 20)[0])
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
