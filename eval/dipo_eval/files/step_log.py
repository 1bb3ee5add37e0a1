"""A training run's logs of steps: metrics.jsonl (a line a step) and rollouts.jsonl (a line a prompt group).

A resumed run writes some steps again and thereby voids the later ones; a killed one may leave half a line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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


def read_steps(path: Path) -> StepLog:
    """A metrics.jsonl, whatever it holds; never raises."""
    rows: list[Row] = []
    total, error = 0, ""
    try:
        with open_regular(path, MAX_METRICS) as file:
            for line in lines(file, MAX_METRICS, _LONGEST_LINE):
                if line.strip():
                    total += 1
                    rows += _parsed(line)
    except OSError as problem:
        error = problem.strerror or str(problem)
    return StepLog(drop_superseded(rows), total, total - len(rows), error)


def read_metrics(run_dir: Path) -> list[Row]:
    """All steps of a run's metrics.jsonl; none where there is no such file yet."""
    return read_steps(run_dir / METRICS).rows


def drop_superseded(rows: Iterable[Row], key: Sequence[str] = ("step",)) -> list[Row]:
    """The valid rows, in step order: a row with an earlier step, or a key seen before, voids those from its step on."""
    kept: list[Row] = []
    seen: set[tuple[Any, ...]] = set()
    for row in rows:
        own = tuple(row[name] for name in key)
        if kept and (row["step"] < kept[-1]["step"] or own in seen):
            kept = [old for old in kept if old["step"] < row["step"]]
            seen = {tuple(old[name] for name in key) for old in kept}
        kept.append(row)
        seen.add(own)
    return kept


def _parsed(line: bytes) -> list[Row]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return []
    step = row.get("step") if isinstance(row, dict) else None
    if isinstance(step, bool) or not isinstance(step, int | float):
        return []
    return [] if abs(step) > _LARGEST_STEP or math.isnan(step) else [{**row, "step": int(step)}]
