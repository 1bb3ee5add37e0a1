"""metrics.jsonl: what a resumed run voids, at a cost that grows with the file and not with its square."""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path

from dipo_eval.files.step_log import METRICS, StepFollower, drop_superseded, read_steps


def log_of(folder: Path, text: str) -> Path:
    path = folder / METRICS
    path.write_text(text)
    return path


def seconds(path: Path) -> float:
    started = time.process_time()
    read_steps(path)
    return time.process_time() - started


def test_steps_that_are_written_again_and_again_cost_no_more_than_others(tmp_path: Path) -> None:
    n = 20_000
    steps = "".join(f'{{"step":{step}}}\n' for step in range(n))
    plain = seconds(log_of(tmp_path, steps * 2))
    again = f'{{"step":{n - 2}}}\n{{"step":{n - 1}}}\n' * (n // 2)
    path = log_of(tmp_path, steps + again)
    assert seconds(path) < 10 * plain + 1
    log = read_steps(path)
    assert ([row["step"] for row in log.rows], log.total, log.skipped) == (list(range(n)), 2 * n, 0)


def test_a_row_that_is_voided_takes_no_memory(tmp_path: Path) -> None:
    path = log_of(tmp_path, '{"step":1}\n' * 200_000)
    tracemalloc.start()
    assert read_steps(path).rows == [{"step": 1}]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < path.stat().st_size


def test_a_group_that_comes_twice_voids_its_step() -> None:
    rows = [{"step": step, "group": group, "try": 1} for step in (1, 2) for group in (0, 1)]
    kept = drop_superseded(
        [*rows, {"step": 2, "group": 0, "try": 2}, {"step": 2, "group": 1, "try": 2}], ("step", "group")
    )
    assert [(row["step"], row["group"], row["try"]) for row in kept] == [
        (1, 0, 1),
        (1, 1, 1),
        (2, 0, 2),
        (2, 1, 2),
    ]


def test_a_follower_reads_what_is_new_and_waits_for_the_end_of_a_line(tmp_path: Path) -> None:
    follower = StepFollower(tmp_path / METRICS)
    assert list(follower.new_rows()) == []
    path = log_of(tmp_path, '{"step":1}\n{"step":2}\n{"st')
    assert [row["step"] for row in follower.new_rows()] == [1, 2]
    assert list(follower.new_rows()) == []
    with open(path, "a") as file:
        file.write('ep":3}\nno row\n' + json.dumps({"step": 2, "again": True}) + "\n")
    assert [row["step"] for row in follower.new_rows()] == [3, 2]
    assert follower.rows == [{"step": 1}, {"step": 2, "again": True}]
