"""What is exported: the complete results of one checkpoint, with their samples."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.files.atomic import write_atomic
from dipo_eval.results.store import RESULTS, is_safe_name, iter_results, load_complete
from dipo_eval.results.stored_checks import shown
from dipo_eval.suites import all_suites
from dipo_eval.suites.base import Suite

Row = dict[str, Any]
SETTINGS = ("engine", "dtype", "temperature", "top_p", "max_new_tokens", "max_model_len", "limit", "seed")
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "engine": ((str,), "a string"), "temperature": ((int, float), "a number"),
    "stop": ((list, type(None)), "a list"),
}  # fmt: skip
FIELDS = ("prompt", "response", "gold", "extracted", "reason", "prompt_tokens", "response_tokens")


@dataclass(frozen=True)
class SuiteSamples:
    """One results.json with its samples; ``suite`` is None for a user's own, whose file is unknown."""

    folder: Path
    result: dict[str, Any]
    rows: list[Row]
    suite: Suite | None

    @property
    def name(self) -> str:
        return str(self.result["suite"])

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.result["settings"])

    @property
    def created(self) -> datetime.datetime:
        created = datetime.datetime.fromisoformat(self.result["created"])
        return created if created.tzinfo else created.replace(tzinfo=datetime.UTC)

    @property
    def is_conversation(self) -> bool:
        """Whether samples hold several requests each, of which the row keeps only the first prompt."""
        return any("requests" in row for row in self.rows)


@dataclass(frozen=True)
class Evaluated:
    """All suites of one checkpoint, sorted by name."""

    run: str
    checkpoint: str
    suites: tuple[SuiteSamples, ...]


@dataclass(frozen=True)
class Identity:
    """What results do not state: the model's public name (ORG/NAME), and where the results are published."""

    model_id: str | None = None
    source_url: str | None = None

    def of(self, evaluated: Evaluated) -> str:
        """The given name, else RUN/CHECKPOINT: a local folder means nothing to other readers."""
        return self.model_id or f"{evaluated.run}/{evaluated.checkpoint}"


def find_evaluated(
    results_dir: Path,
    run: str | None,
    checkpoint: str | None,
    left_out: Callable[[str], None] = lambda line: None,
    unfit: Callable[[str], None] = lambda line: None,
) -> list[Evaluated]:
    """The checkpoints with complete results. Raises UserError where there are none, naming what there is.

    `left_out` is called with one line for each invalid results.json, `unfit` with one for each valid one of those asked
    for that no format can hold; each line names the file.
    """
    if not results_dir.is_dir():
        raise UserError(f"{results_dir}: no such folder; `dipo eval ... --results {results_dir}` writes one")
    found: dict[tuple[str, str], list[Path]] = {}
    seen: list[str] = []
    for folder, _ in iter_results(results_dir, verify=True, left_out=left_out):
        key = (folder.parts[-3], folder.parts[-2])
        seen.append("/".join(key))
        if run in (None, key[0]) and checkpoint in (None, key[1]):
            found.setdefault(key, []).append(folder)
    if not found:
        wanted = "/".join(part or "*" for part in (run, checkpoint))
        known = ", ".join(list(dict.fromkeys(seen))[:8]) or "none"
        raise UserError(f"{results_dir}: no complete results of {wanted}; there is: {known}")
    suites, evaluated, problems = all_suites(), [], []
    for key, folders in found.items():
        read = []
        for folder in folders:
            try:
                read.append(_read(folder, suites))
            except UserError as error:
                problems.append(str(error))
        if read:
            evaluated.append(Evaluated(*key, tuple(read)))
    for problem in problems:
        unfit(problem)
    if not evaluated:
        raise UserError(f"{results_dir}: no result can be exported: {problems[0]}")
    return evaluated


def _read(folder: Path, suites: dict[str, Suite]) -> SuiteSamples:
    """One result with what all formats take from it. Raises UserError naming the file."""
    result, rows = load_complete(folder)
    path, settings = folder / RESULTS, result["settings"]
    _need(settings, SETTINGS, f"{path}: settings")
    _check(is_safe_name(result["suite"]), f"{path}: suite", result["suite"], "the name of a folder")
    _check(_is_time(result["created"]), f"{path}: created", result["created"], "a date and time in ISO 8601")
    for name, (kinds, words) in _KINDS.items():
        _check(type(settings.get(name)) in kinds, f"{path}: settings.{name}", settings.get(name), words)
    for number, row in enumerate(rows, start=1):
        _need(row, FIELDS, f"{folder}: row {number} of the samples")
        _check(isinstance(row["prompt"], str), f"{folder}: row {number}: prompt", row["prompt"], "a string")
    return SuiteSamples(folder, result, rows, suites.get(result["suite"]))


def _check(holds: bool, where: str, value: Any, words: str) -> None:
    if not holds:
        raise UserError(f"{where} {shown(value)}: must be {words}")


def _is_time(text: str) -> bool:
    try:
        datetime.datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _need(table: Mapping[str, Any], names: Sequence[str], where: str) -> None:
    missing = next((name for name in names if name not in table), None)
    if missing:
        raise UserError(f"{where}: has no field {missing!r}, which the export needs; evaluate again")


def write_text(path: Path, text: str) -> Path:
    """Write a file of an export, its folder with it, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.encode("utf-8"))
    return path


def to_json(value: Any) -> str:
    """Indented JSON in ASCII. Raises ValueError for NaN, which JSON does not know."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def to_lines(rows: Sequence[Row]) -> str:
    """JSON lines in ASCII, so that no string can break a line."""
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
