"""The folder of a comparison: one JSON file a run, complete or absent, so that a killed comparison goes on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.files.atomic import write_atomic
from dipo_openrlhf.compare.cell import Cell, Trained
from dipo_openrlhf.compare.held_out import Scores


def cell_path(folder: Path, cell: Cell) -> Path:
    """Where the run of a cell is kept."""
    return folder / "cells" / cell.task / cell.entry.name / f"seed-{cell.seed}.json"


def write_cell(folder: Path, cell: Cell, trained: Trained) -> None:
    """Keep a finished run."""
    path = cell_path(folder, cell)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"identity": cell.identity, "cell": asdict(cell), **asdict(trained)}
    write_atomic(path, json.dumps(content, allow_nan=True).encode())


def read_cell(folder: Path, cell: Cell) -> Trained | None:
    """A finished run, or None. Raises UserError where the file is of other settings or cannot be read."""
    path = cell_path(folder, cell)
    try:
        content = json.loads(path.read_bytes())
        if content["identity"] != cell.identity:
            raise UserError(f"{path}: {_difference(content['cell'], asdict(cell))}: choose another --out")
        evaluations = [(tokens, Scores(**scores)) for tokens, scores in content["evaluations"]]
        _check(content["steps"], evaluations, cell)
        return Trained(content["steps"], evaluations, content["seconds"])
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: is not a run of `dipo compare`: remove it, and it is run again") from None


def _check(steps: list[dict[str, Any]], evaluations: list[tuple[int, Scores]], cell: Cell) -> None:
    """Raise ValueError, KeyError or TypeError for what no run leaves."""
    if not steps or not evaluations:
        raise ValueError("no steps or no evaluation")
    for step in steps:
        for key in ("tokens", "zero_gradient_share", "responses", "sampled_responses"):
            if not isinstance(step[key], (int, float)):
                raise TypeError(key)
    for _, scores in evaluations:
        if {len(scores.correct), len(scores.distinct), len(scores.majority)} != {cell.evaluate["items"]}:
            raise ValueError("not all problems")


def missing(folder: Path, cells: Iterable[Cell]) -> list[Cell]:
    """Those that are still to be run. Raises UserError as read_cell does."""
    return [cell for cell in cells if read_cell(folder, cell) is None]


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """The first setting that differs, in words."""
    for key, old, new in _leaves(found, wanted, ""):
        if old != new:
            return f"was run with {key} = {old!r}, not {new!r}"
    return "was run by another release of the code or of torch"


def _leaves(found: Any, wanted: Any, key: str) -> Iterable[tuple[str, Any, Any]]:
    if not (isinstance(found, dict) and isinstance(wanted, dict)):
        yield key, found, wanted
        return
    for name in {**wanted, **found}:
        yield from _leaves(found.get(name), wanted.get(name), f"{key}.{name}" if key else name)
