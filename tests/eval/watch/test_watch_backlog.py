"""Which checkpoints, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from dipo_eval.subject.marker import (
    MARKER,
    Marked,
    complete_checkpoints,
    how_it_ended,
    saves_to_evaluate,
    training_ended,
    training_started,
    write_json,
)
from dipo_eval.watch.backlog import ordered


def saves(*steps: int, save_steps: int | None = 10) -> list[Marked]:
    marker = {} if save_steps is None else {"save_steps": save_steps}
    return [Marked(step, Path(f"global_step{step}_hf"), marker) for step in steps]


def steps(found: list[Marked]) -> list[int]:
    return [checkpoint.step for checkpoint in found]


@pytest.mark.parametrize(
    ("every", "last_too", "expected"),
    [
        (1, False, [10, 20, 30, 40, 50]),
        (2, False, [20, 40]),
        (2, True, [20, 40, 50]),
        (5, True, [50]),
        (9, False, []),
        (9, True, [50]),
    ],
)
def test_every_kth_and_the_last(every: int, last_too: bool, expected: list[int]) -> None:
    assert steps(saves_to_evaluate(saves(10, 20, 30, 40, 50), every=every, last_too=last_too)) == expected


def test_pruning_does_not_change_which_are_saves_to_evaluate() -> None:
    assert steps(saves_to_evaluate(saves(30, 40, 50), every=2)) == [40]


def test_one_saved_before_an_end_is_evaluated_only_as_the_last() -> None:
    off = Marked(35, Path("global_step35_hf"), {"save_steps": 10, "scheduled": False})
    found = [*saves(10, 20, 30), off]
    assert steps(saves_to_evaluate(found, every=2)) == [20]
    assert steps(saves_to_evaluate(found, every=1)) == [10, 20, 30]
    assert steps(saves_to_evaluate(found, every=2, last_too=True)) == [20, 35]
    assert steps(saves_to_evaluate([*found, *saves(40)], every=2, last_too=True)) == [20, 40]


def test_markers_without_save_steps_are_counted() -> None:
    assert steps(saves_to_evaluate(saves(3, 7, 8, 12, save_steps=None), every=2)) == [7, 12]


def test_the_order_of_a_backlog() -> None:
    found = saves(10, 20, 30)
    assert steps(ordered(found, "oldest", [0, 0, 0])) == [10, 20, 30]
    assert steps(ordered(found, "newest", [0, 0, 0])) == [30, 20, 10]


def test_what_failed_comes_last() -> None:
    assert steps(ordered(saves(10, 20, 30), "oldest", [1, 0, 0])) == [20, 30, 10]
    assert steps(ordered(saves(10, 20, 30), "newest", [0, 0, 2])) == [20, 10, 30]


def test_only_whole_checkpoints_count(tmp_path: Path) -> None:
    for step in (10, 9):
        (tmp_path / f"global_step{step}_hf").mkdir()
        write_json(tmp_path / f"global_step{step}_hf" / MARKER, {"step": step, "weights_hash": f"h{step}"})
    (tmp_path / "global_step11_hf").mkdir()
    (tmp_path / "global_step12_hf").mkdir()
    (tmp_path / "global_step12_hf" / MARKER).write_text('{"step"')
    (tmp_path / "other_hf").mkdir()
    write_json(tmp_path / "other_hf" / MARKER, {"step": 1})
    found = complete_checkpoints(tmp_path)
    assert [(c.step, c.name, c.weights_hash) for c in found] == [
        (9, "global_step9", "h9"),
        (10, "global_step10", "h10"),
    ]


def test_how_a_training_ends(tmp_path: Path) -> None:
    assert how_it_ended(tmp_path) is None
    training_ended(tmp_path, "interrupted")
    training_ended(tmp_path, "failed")  # by `dipo train`, which does not know better than the driver
    assert how_it_ended(tmp_path) == "interrupted"
    training_started(tmp_path)
    assert how_it_ended(tmp_path) is None
    training_ended(tmp_path / "nowhere", "failed")
    assert not (tmp_path / "nowhere").exists()
