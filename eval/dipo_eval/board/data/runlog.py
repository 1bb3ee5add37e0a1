"""Read one training run: metrics.jsonl (one JSON object a step) and the recipe beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dipo_eval.board.data.stored import number
from dipo_eval.errors import UserError
from dipo_eval.files.step_log import METRICS, read_steps
from dipo_eval.files.yaml_file import read_yaml
from dipo_eval.results.not_finite import sentence
from dipo_eval.results.stored_checks import LONGEST_NAME

MAX_POINTS = 240
"""A curve is at most this many points wide: more cannot be told apart at a phone's width."""


@dataclass(frozen=True)
class RunLog:
    """A training run. `rows` are in step order, each with an integer "step"; `recipe` may be empty."""

    name: str
    rows: list[dict[str, Any]]
    recipe: dict[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def has(self, key: str) -> bool:
        """True where at least one step logged a finite number under `key`."""
        return any(number(row.get(key)) is not None for row in self.rows)

    def values(self, key: str) -> list[float | None]:
        """`key` at every step; None where it is missing, null, or not a finite number."""
        return [number(row.get(key)) for row in self.rows]

    def total(self, key: str) -> int:
        """The sum of a count over all steps."""
        return round(sum(value for value in self.values(key) if value is not None))


def read_run_log(run_dir: Path) -> RunLog:
    """The run in `run_dir`; what cannot be read is a problem, not a crash. UserError without a metrics.jsonl."""
    path = run_dir / METRICS
    if not path.exists():
        raise UserError(f"{run_dir} holds no metrics.jsonl: name the folder that `dipo train` wrote")
    log, shown = read_steps(path), f"{run_dir.name}/{METRICS}"
    problems: list[str] = []
    if log.error:
        problems.append(f"{shown} could not be read to the end: {log.error}")
    if log.skipped:
        problems.append(
            f"{shown}: {log.skipped} of {log.total} lines are not a JSON object with a step and are left out"
        )
    recipe, recipe_problems = _read_recipe(run_dir)
    name = str(recipe.get("name") or run_dir.resolve().name)[:LONGEST_NAME]
    if broken := sentence(log.rows):
        problems.append(f"{shown}: {broken}")
    return RunLog(name, log.rows, recipe, tuple(problems + recipe_problems))


def buckets(n_rows: int, limit: int = MAX_POINTS) -> list[range]:
    """Consecutive ranges that cover 0..n_rows-1, at most `limit` of them, of equal size but for the last."""
    size = max(1, -(-n_rows // limit))
    return [range(start, min(start + size, n_rows)) for start in range(0, n_rows, size)]


def bucket_means(values: Sequence[float | None], ranges: Sequence[range]) -> list[float | None]:
    """The mean of each range's values; None where a range has none."""
    means: list[float | None] = []
    for indices in ranges:
        present = [value for i in indices if (value := values[i]) is not None]
        means.append(sum(present) / len(present) if present else None)
    return means


def _read_recipe(run_dir: Path) -> tuple[dict[str, Any], list[str]]:
    path = run_dir / "recipe.yaml"
    if not path.is_file():
        return {}, []
    try:
        recipe = read_yaml(path)
    except UserError as error:
        return {}, [
            f"{run_dir.name}/recipe.yaml could not be read: {str(error).replace(str(path), path.name)}"
        ]
    return (recipe if isinstance(recipe, dict) else {}), []
