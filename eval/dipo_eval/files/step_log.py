"""A training run's logs of steps: metrics.jsonl (a line a step) and rollouts.jsonl (a line a prompt group).

A resumed run writes some steps again and thereby voids the later ones; a killed one may leave half a line.
"""

from __future__ import annotations

import contextlib
import json
import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from dipo_eval.files.bounded_file import MAX_METRICS, lines, open_regular

METRICS = "metrics.jsonl"
ROLLOUTS = "rollouts.jsonl"
_LONGEST_LINE = 16 << 20  # bytes; a step takes some kilobytes
_LARGEST_STEP = 10**15

Row = dict[str, Any]


@dataclass(frozen=True)
class StepLog:
    """`rows` in step order, each step once; `skipped` of `total` lines are no JSON object with a step.

    `error` says why the file could not be read to its end; empty where it could.
    """

    rows: list[Row]
    total: int = 0
    skipped: int = 0
    error: str = ""


class ValidRows:
    """The valid rows of a log, in step order, while it is read: each row costs the same, however many there are.

    A row with an earlier step, or a key seen before, voids those from its step on. `key`: columns that name a row, with
    the step.
    """

    def __init__(self, key: Sequence[str] = ("step",)) -> None:
        self.rows: list[Row] = []
        self._key = key
        self._seen: set[tuple[Any, ...]] = set()

    def add(self, row: Row) -> None:
        own = self._name(row)
        if self.rows and (row["step"] < self.rows[-1]["step"] or own in self._seen):
            first = bisect_left(self.rows, row["step"], key=itemgetter("step"))
            self._seen.difference_update(map(self._name, self.rows[first:]))
            del self.rows[first:]
        self.rows.append(row)
        self._seen.add(own)

    def _name(self, row: Row) -> tuple[Any, ...]:
        return tuple(row[name] for name in self._key)


class StepFollower:
    """A metrics.jsonl that grows: each call reads what is new since the last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._valid = ValidRows()
        self._position = 0

    @property
    def rows(self) -> list[Row]:
        """The valid rows so far, in step order."""
        return self._valid.rows

    def new_rows(self) -> Iterator[Row]:
        """Each row of the complete lines since the last call, when `rows` ends with it; never raises."""
        with contextlib.suppress(OSError), open_regular(self._path, MAX_METRICS) as file:
            file.seek(self._position)
            for line in lines(file, MAX_METRICS, _LONGEST_LINE):
                if not line.endswith(b"\n"):
                    return  # it is being written
                self._position += len(line)
                if (row := _parsed(line)) is not None:
                    self._valid.add(row)
                    yield row


def read_steps(path: Path) -> StepLog:
    """A metrics.jsonl, whatever it holds; never raises."""
    valid = ValidRows()
    total, skipped, error = 0, 0, ""
    try:
        with open_regular(path, MAX_METRICS) as file:
            for line in lines(file, MAX_METRICS, _LONGEST_LINE):
                if line.strip():
                    total += 1
                    if (row := _parsed(line)) is None:
                        skipped += 1
                    else:
                        valid.add(row)
    except OSError as problem:
        error = problem.strerror or str(problem)
    return StepLog(valid.rows, total, skipped, error)


def read_metrics(run_dir: Path) -> list[Row]:
    """All steps of a run's metrics.jsonl; none where there is no such file yet."""
    return read_steps(run_dir / METRICS).rows


def drop_superseded(rows: Iterable[Row], key: Sequence[str] = ("step",)) -> list[Row]:
    """The valid rows, in step order; see ValidRows."""
    valid = ValidRows(key)
    for row in rows:
        valid.add(row)
    return valid.rows


def _parsed(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    step = row.get("step") if isinstance(row, dict) else None
    if isinstance(step, bool) or not isinstance(step, int | float):
        return None
    if abs(step) > _LARGEST_STEP or math.isnan(step):
        return None
    return {**row, "step": int(step)}
