"""Each method's own options, tried with an equal budget on other seeds and problems, before the methods are compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipo_eval.files.atomic import write_atomic
from dipo_openrlhf.compare.cell import Cell, cell_of
from dipo_openrlhf.compare.spec import Comparison, Entry, TuneSection, entry_of
from dipo_openrlhf.compare.store import missing, read_cell
from dipo_openrlhf.compare.workers import run_cells


@dataclass(frozen=True)
class Tuned:
    """What was tried for an entry: the mean final accuracy of each option, over tasks and seeds, and the chosen one."""

    entry: str
    options: tuple[dict[str, Any], ...]
    accuracy: tuple[float, ...]
    chosen: int


def tuning_tasks(comparison: Comparison, tune: TuneSection) -> list[str]:
    return tune.tasks or comparison.tasks


def tuning_cells(
    comparison: Comparison, tune: TuneSection, models: dict[str, Path]
) -> dict[tuple[str, int], list[Cell]]:
    """(entry, option) -> its runs."""
    found: dict[tuple[str, int], list[Cell]] = {}
    for name, options in tune.options.items():
        for index, option in enumerate(options):
            entry = entry_of(name, {**comparison.methods[name], **option})
            named = Entry(f"{name}.option-{index + 1}", entry.dipo, entry.lr)
            found[name, index] = [
                cell_of(comparison, task, named, seed, models[task].name, tuning=True)
                for task in tuning_tasks(comparison, tune)
                for seed in tune.seeds
            ]
    return found


def run_tuning(
    comparison: Comparison,
    tune: TuneSection,
    models: dict[str, Path],
    folder: Path,
    workers: int,
    done: Callable[[Cell, float], None],
) -> list[Tuned]:
    """Run what is missing, choose the option with the best mean accuracy (of equals the first), write tuning.json."""
    cells = tuning_cells(comparison, tune, models)
    run_cells(
        missing(folder, [cell for part in cells.values() for cell in part]), folder, models, workers, done
    )
    tuned = []
    for name, options in tune.options.items():
        accuracy = []
        for index in range(len(options)):
            found = [read_cell(folder, cell) for cell in cells[name, index]]
            accuracy.append(sum(one.evaluations[-1][1].accuracy for one in found if one) / len(found))
        tuned.append(Tuned(name, tuple(options), tuple(accuracy), accuracy.index(max(accuracy))))
    content = [
        {"entry": one.entry, "chosen": one.chosen, "options": one.options, "accuracy": one.accuracy}
        for one in tuned
    ]
    write_atomic(folder / "tuning.json", (json.dumps(content, indent=2) + "\n").encode())
    return tuned


def entries_of(comparison: Comparison, tuned: list[Tuned]) -> list[Entry]:
    """The competitors, with what tuning chose."""
    chosen = {one.entry: one.options[one.chosen] for one in tuned}
    return [
        entry_of(name, {**switches, **chosen.get(name, {})}) for name, switches in comparison.methods.items()
    ]
