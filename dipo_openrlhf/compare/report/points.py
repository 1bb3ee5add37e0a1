"""Every number of a comparison as CSV: one row a training step, one a held-out evaluation, one a problem at the end."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dipo_eval.files.atomic import write_atomic
from dipo_openrlhf.compare.referee import TaskResult

EVALUATION = ("accuracy", "entropy", "ppl_correct", "ppl_error", "tokens")


def write_points(results: Sequence[TaskResult], folder: Path) -> None:
    """steps.csv, evaluations.csv and items.csv."""
    steps = list(_steps(results))
    keys = list(dict.fromkeys(key for row in steps for key in row))
    _write(folder / "steps.csv", keys, ([row.get(key, "") for key in keys] for row in steps))
    header = ["task", "method", "seed", "at_tokens", *EVALUATION, "distinct_answers", "majority_accuracy"]
    _write(folder / "evaluations.csv", header, _evaluations(results))
    _write(folder / "items.csv", ["task", "method", "seed", "item", "correct", "samples"], _items(results))


def _steps(results: Sequence[TaskResult]) -> Iterator[dict[str, Any]]:
    for result in results:
        for name, by_seed in result.runs.items():
            for seed, run in by_seed.items():
                for step in run.steps:
                    yield {"task": result.task, "method": name, "seed": seed, **step}


def _evaluations(results: Sequence[TaskResult]) -> Iterator[list[Any]]:
    for result in results:
        for name, by_seed in result.runs.items():
            for seed, run in by_seed.items():
                for tokens, scores in run.evaluations:
                    values = [getattr(scores, key) for key in EVALUATION]
                    distinct = sum(scores.distinct) / len(scores.distinct)
                    majority = sum(scores.majority) / len(scores.majority)
                    yield [result.task, name, seed, tokens, *values, distinct, majority]


def _items(results: Sequence[TaskResult]) -> Iterator[list[Any]]:
    for result in results:
        for name, by_seed in result.runs.items():
            for seed, run in by_seed.items():
                scores = run.evaluations[-1][1]
                for item, correct in enumerate(scores.correct):
                    yield [result.task, name, seed, item, correct, scores.samples]


def _write(path: Path, header: Sequence[str], rows: Iterator[Sequence[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(["" if value is None else value for value in row] for row in rows)
    write_atomic(path, text.getvalue().encode())
