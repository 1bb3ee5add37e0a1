"""What is read of a finished run: a score for each item of each suite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError, short_repr
from dipo_eval.files.bounded_file import MAX_SAMPLES, lines, open_regular
from dipo_eval.results.stored_checks import parse_json


@dataclass(frozen=True)
class Finished:
    """One suite of one run: item -> mean score of its samples, in [0, 1]."""

    suite: str
    scores: dict[str, float]


@dataclass(frozen=True)
class Reader:
    """A format of results. finds: whether a path is of it. read: its suites; raises UserError with one line."""

    name: str
    finds: Callable[[Path], bool]
    read: Callable[[Path], list[Finished]]


def averaged(suite: str, samples: Iterable[tuple[str, float]], where: Path) -> Finished:
    """The mean of each item's samples. Raises UserError where there are none."""
    values: dict[str, list[float]] = {}
    for item, score in samples:
        values.setdefault(item, []).append(score)
    if not values:
        raise UserError(f"{where}: holds no scored sample")
    return Finished(suite, {item: sum(found) / len(found) for item, found in values.items()})


def score_in(value: Any, where: str) -> float:
    """A score between 0 and 1, or a truth value. Raises UserError for anything else."""
    if isinstance(value, (bool, int, float)) and 0 <= value <= 1:
        return float(value)
    raise UserError(f"{where} is {short_repr(value)}: a score lies between 0 and 1")


def json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of a JSON-lines file. Raises UserError with the line."""
    try:
        with open_regular(path, MAX_SAMPLES) as file:
            for number, line in enumerate(lines(file, MAX_SAMPLES), 1):
                if line.strip():
                    row = parse_json(line)
                    if not isinstance(row, dict):
                        raise UserError(f"{path}:{number}: is no JSON object")
                    yield number, row
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
