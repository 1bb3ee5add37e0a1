"""All runs of a comparison, look by look, until it is decided or its seeds are spent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dipo_eval.statistics import MethodComparison, Plan, compare_methods
from dipo_openrlhf.algorithm import methods
from dipo_openrlhf.compare.cell import Cell, Trained, cell_of
from dipo_openrlhf.compare.spec import Comparison, Entry
from dipo_openrlhf.compare.store import missing, read_cell
from dipo_openrlhf.compare.workers import run_cells

Table = dict[str, dict[int, Trained]]
"""Entry -> seed -> its run."""


@dataclass(frozen=True)
class TaskResult:
    """A task's runs, [entries][seeds], all entries with the same seeds, and the verdicts on every pair.

    acting: the entries that act on groups without variance, as DiPO does.
    """

    task: str
    runs: Table
    verdicts: MethodComparison
    acting: frozenset[str]

    @property
    def seeds(self) -> list[int]:
        return list(next(iter(self.runs.values())))


def plan_of(comparison: Comparison) -> Plan:
    """What is fixed before the first seed."""
    verdict = comparison.verdict
    return Plan(
        tuple(comparison.seeds.looks()),
        verdict.error,
        verdict.margin,
        spending=verdict.spending,
        power=verdict.power,
    )


def accuracies(runs: dict[int, Trained]) -> np.ndarray:
    """Final accuracy of each seed on each held-out problem, [S, I]."""
    last = [run.evaluations[-1][1] for run in runs.values()]
    return np.array([[correct / one.samples for correct in one.correct] for one in last])


def cells_of_look(
    comparison: Comparison, task: str, entries: Sequence[Entry], seeds: int, model: str
) -> list[Cell]:
    """The runs that a look at so many seeds needs; seed by seed, so that every method has as many at any time."""
    first = comparison.seeds.first
    return [
        cell_of(comparison, task, entry, seed, model)
        for seed in range(first, first + seeds)
        for entry in entries
    ]


def run_task(
    comparison: Comparison,
    task: str,
    entries: Sequence[Entry],
    models: dict[str, Path],
    folder: Path,
    workers: int,
    done: Callable[[Cell, float], None],
    looked: Callable[[str, MethodComparison], None],
) -> TaskResult:
    """Run a task's seeds until a look says stop. done and looked are told of each run and each look."""
    plan = plan_of(comparison)
    result = None
    for seeds in comparison.seeds.looks():
        cells = cells_of_look(comparison, task, entries, seeds, models[task].name)
        run_cells(missing(folder, cells), folder, models, workers, done)
        result = read_task(task, cells, folder, plan, judged_against(comparison))
        looked(task, result.verdicts)
        if result.verdicts.stop:
            break
    assert result is not None  # a plan has a look
    return result


def baseline_of(comparison: Comparison) -> str:
    """The entry with which the others are compared first."""
    return comparison.baseline or next(iter(comparison.methods))


def judged_against(comparison: Comparison) -> str | None:
    """The entry that is in every pair that is judged; None where all pairs are."""
    return baseline_of(comparison) if comparison.verdict.pairs == "baseline" else None


def read_task(
    task: str, cells: Sequence[Cell], folder: Path, plan: Plan, baseline: str | None = None
) -> TaskResult:
    """The result of runs that are all there. baseline: as in `compare_methods`."""
    runs: Table = {}
    for cell in cells:
        found = read_cell(folder, cell)
        if found is not None:
            runs.setdefault(cell.entry.name, {})[cell.seed] = found
    scores = {name: accuracies(by_seed) for name, by_seed in runs.items()}
    acting = {
        cell.entry.name
        for cell in cells
        if cell.entry.dipo.alpha > 0 and methods.get(cell.entry.dipo.method).reallocates
    }
    return TaskResult(task, runs, compare_methods(scores, plan, baseline), frozenset(acting))


class Clock:
    """How long the rest takes: the mean of the runs so far, or a first guess, by the number of workers."""

    def __init__(self, guess: float, workers: int) -> None:
        self._seconds = [guess]
        self._workers = workers

    def add(self, seconds: float) -> None:
        self._seconds.append(seconds)

    def remaining(self, runs: int) -> float:
        """Seconds for so many more runs."""
        seen = self._seconds[1:] or self._seconds
        return runs * sum(seen) / len(seen) / self._workers
