"""`dipo compare`: models, tuning, runs and report, in this order; started again, it goes on where it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from dipo_eval.errors import UserError
from dipo_eval.files.atomic import write_atomic
from dipo_eval.files.places import check_can_make_folder
from dipo_eval.files.yaml_file import compose_yaml, value_of
from dipo_eval.statistics import MethodComparison
from dipo_openrlhf.compare.cell import Cell
from dipo_openrlhf.compare.referee import Clock, TaskResult, cells_of_look, plan_of, run_task
from dipo_openrlhf.compare.report.write import write_report
from dipo_openrlhf.compare.spec import Comparison
from dipo_openrlhf.compare.store import missing
from dipo_openrlhf.compare.tasks import task_named
from dipo_openrlhf.compare.tuning import Tuned, entries_of, run_tuning, tuning_cells, tuning_tasks
from dipo_openrlhf.record.user_cache import cache_dir
from dipo_openrlhf.run.owner import owned

GUESS = 20.0
"""Seconds of a run, until the first one has told."""


def compare(comparison: Comparison, folder: Path, workers: int, console: Console) -> list[TaskResult]:
    """Run what is missing of a comparison and write its report. Raises UserError with one line."""
    check_can_make_folder(folder, "--out")
    folder.mkdir(parents=True, exist_ok=True)
    with owned([folder], console.print, what="a comparison", option="--out"):
        models = starting_models(comparison)
        _check_runs(comparison, models, folder)
        _keep_settings(comparison, folder)
        with _bar(console) as bar:
            tuned = _tune(comparison, models, folder, workers, bar)
            entries = entries_of(comparison, tuned)
            results = []
            for task in comparison.tasks:
                most = cells_of_look(comparison, task, entries, comparison.seeds.most, models[task].name)
                shown = bar.add_task(task, total=len(most), rest="")
                done = _counted(bar, shown, len(most), len(missing(folder, most)), workers)
                result = run_task(
                    comparison,
                    task,
                    entries,
                    models,
                    folder,
                    workers,
                    done,
                    _said(bar, plan_of(comparison).looks),
                )
                bar.update(shown, total=bar.tasks[shown].completed, rest="")
                results.append(result)
                write_report(comparison, results, tuned, folder)
    return results


def most_runs(comparison: Comparison) -> int:
    """Runs that it takes at most."""
    total = comparison.seeds.most * len(comparison.methods) * len(comparison.tasks)
    if comparison.tune:
        tasks = tuning_tasks(comparison, comparison.tune)
        options = sum(len(one) for one in comparison.tune.options.values())
        total += options * len(comparison.tune.seeds) * len(tasks)
    return total


def starting_models(comparison: Comparison) -> dict[str, Path]:
    """Task -> its starting model, made now or found in the cache."""
    from dipo_openrlhf.quickstart.pretrain import pretrained_model

    tasks = dict.fromkeys([*comparison.tasks, *(comparison.tune.tasks if comparison.tune else [])])
    return {task: pretrained_model(cache_dir(), lesson=task_named(task).lesson) for task in tasks}


def _tune(
    comparison: Comparison, models: dict[str, Path], folder: Path, workers: int, bar: Progress
) -> list[Tuned]:
    if comparison.tune is None:
        return []
    cells = [cell for part in tuning_cells(comparison, comparison.tune, models).values() for cell in part]
    shown = bar.add_task("tuning", total=len(cells), rest="")
    done = _counted(bar, shown, len(cells), len(missing(folder, cells)), workers)
    tuned = run_tuning(comparison, comparison.tune, models, folder, workers, done)
    bar.update(shown, rest="")
    return tuned


def _check_runs(comparison: Comparison, models: dict[str, Path], folder: Path) -> None:
    """Raise UserError where the folder holds runs of other settings, before anything in it is written."""
    if comparison.tune is not None:
        for cells in tuning_cells(comparison, comparison.tune, models).values():
            missing(folder, cells)
        return  # the others' settings follow from it
    for task in comparison.tasks:
        entries, most = entries_of(comparison, []), comparison.seeds.most
        missing(folder, cells_of_look(comparison, task, entries, most, models[task].name))


def _keep_settings(comparison: Comparison, folder: Path) -> None:
    """settings.yaml, what the folder is of. A change to the runs is found by the runs that it would mix.

    Raises UserError where what is fixed before the first look has changed: a verdict after such a change means nothing.
    """
    path, given = folder / "settings.yaml", comparison.model_dump()
    kept = read_settings(path)
    for key in ("seeds", "verdict"):
        for name, value in given[key].items():
            if kept is not None and (old := kept.get(key, {}).get(name, value)) != value:
                raise UserError(
                    f"{path}: {key}.{name} was {old!r} when its results were looked at, not {value!r}: it is fixed "
                    "before the first look; choose another --out"
                )
    write_atomic(path, yaml.safe_dump(given, sort_keys=False, allow_unicode=True).encode())


def read_settings(path: Path) -> dict[str, Any] | None:
    """What a folder's comparison was; None where there is none. Raises UserError for a file that is none."""
    if not path.exists():
        return None
    found = value_of(node, str(path)) if (node := compose_yaml(path, str(path))) is not None else None
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds no settings of `dipo compare`: choose another --out, or remove it")
    return found


def _bar(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[rest]}"),
    )
    return Progress(*columns, console=console)


def _counted(
    bar: Progress, shown: TaskID, total: int, left: int, workers: int
) -> Callable[[Cell, float], None]:
    clock = Clock(GUESS, workers)
    bar.update(shown, completed=total - left, rest=_about(clock.remaining(left)) if left else "")

    def done(cell: Cell, seconds: float) -> None:
        clock.add(seconds)
        bar.advance(shown)
        remaining = clock.remaining(total - int(bar.tasks[shown].completed))
        bar.update(shown, rest=_about(remaining))

    return done


def _said(bar: Progress, looks: tuple[int, ...]) -> Callable[[str, MethodComparison], None]:
    def looked(task: str, verdicts: MethodComparison) -> None:
        bar.console.print(f"{task}, {verdicts.seeds} of at most {looks[-1]} seeds: {verdicts.reason}")

    return looked


def _about(seconds: float) -> str:
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
