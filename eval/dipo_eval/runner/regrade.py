"""Grade stored samples again: the same responses, today's grader, and on request somebody else's beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipo_eval.engines.base import TOO_LONG
from dipo_eval.engines.cpu_env import usable_cores
from dipo_eval.errors import UserError
from dipo_eval.files.bounded_file import MAX_RESULT, read_limited
from dipo_eval.grading import Verdict
from dipo_eval.harness.base import SecondGrader
from dipo_eval.results.store import RESULTS, SAMPLES, open_samples, sample_lines, samples_file
from dipo_eval.results.stored_checks import parse_json, parse_row
from dipo_eval.suites import Item, get_suites
from dipo_eval.suites.base import Suite
from dipo_eval.suites.math_file import grade_item


@dataclass(frozen=True)
class StoredRow:
    """One sample as task.py wrote it, and the line that it is on. ``status`` is None where none was stored."""

    line: int
    row: dict[str, Any]

    @property
    def status(self) -> str | None:
        return self.row.get("status")


@dataclass(frozen=True)
class Regraded:
    """A sample with its new verdict, and the second grader's where one was asked."""

    stored: StoredRow
    verdict: Verdict
    second: Verdict | None = None

    @property
    def changed(self) -> bool:
        """Whether the stored verdict was another."""
        return self.stored.status is not None and self.stored.status != self.verdict.status

    @property
    def disputed(self) -> bool:
        """Whether the second grader's score is another; undecided scores 0 on both sides."""
        return self.second is not None and self.second.score != self.verdict.score

    def to_json(self, second_name: str | None) -> dict[str, Any]:
        """The row that --out writes."""
        row, verdict = self.stored.row, self.verdict
        made = {
            "item_id": row["item_id"], "sample": row.get("sample"), "stored_status": self.stored.status,
            "status": verdict.status, "reason": verdict.reason, "extracted": verdict.extracted,
        }  # fmt: skip
        if self.second is not None and second_name:
            made[second_name] = {"status": self.second.status, "reason": self.second.reason}
        return made


def find_samples(path: Path) -> Path:
    """The file itself, or the samples of a results folder. Raises UserError where there is none."""
    if path.is_dir():
        found = samples_file(path)
        if found is not None:
            return found
        raise UserError(f"{path}: holds no {SAMPLES}; name a folder RESULTS/RUN/CHECKPOINT/SUITE or its file")
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a {SAMPLES} of a results folder")
    return path


def read_stored(path: Path) -> list[StoredRow]:
    """The rows of a JSON-lines file, zstd-packed if it ends in .zst.

    Raises UserError that names file and line: what is no row, has no response or gold; and for a file that is empty,
    damaged or not UTF-8.
    """
    rows = []
    number = 0
    try:
        with open_samples(path) as samples:
            for number, line in enumerate(sample_lines(samples), start=1):
                if line.strip():
                    rows.append(_checked(line, f"{path}:{number}", number))
    except OSError as error:
        raise UserError(f"{path}:{number + 1}: cannot be read ({error}); get the file again") from error
    if not rows:
        raise UserError(f"{path}: holds no samples")
    return rows


def _checked(line: bytes, where: str, number: int) -> StoredRow:
    try:
        row = parse_row(line, graded=False)
        if "response" not in row:
            raise ValueError("has no field 'response'")
    except ValueError as error:
        raise UserError(f"{where}: {error}; mend or remove the line") from None
    if row.get("gold") is None:
        raise UserError(f"{where}: has no field 'gold'; only samples with their right answer can be graded")
    return StoredRow(number, row)


def suite_of(path: Path, named: str | None) -> Suite | None:
    """The suite whose grader holds: the one named, else that of the results.json beside the samples, else None."""
    if named:
        return get_suites([named])[0]
    try:
        found = parse_json(read_limited(path.parent / RESULTS, MAX_RESULT))["suite"]
        return get_suites([found])[0]
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return None


def regrade(
    rows: Sequence[StoredRow],
    suite: Suite | None,
    second: SecondGrader | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> list[Regraded]:
    """New verdicts in order: the suite's own grader, without a suite the math grader.

    Raises UserError naming the line of a gold that the math grader cannot take.
    """
    grade = suite.grade if suite else _grade_math

    def one(stored: StoredRow) -> Regraded:
        row = stored.row
        verdict = Verdict("wrong", "the prompt fills the context")  # never asked: no grade for its silence
        if row.get("finish_reason") != TOO_LONG:
            verdict = grade(row["response"], Item(row["item_id"], [], row["gold"], row))
        made = Regraded(stored, verdict, second(row) if second else None)
        advance(1)
        return made

    with ThreadPoolExecutor(usable_cores()) as threads:  # the slow ones wait for worker processes
        return list(threads.map(one, rows))


def _grade_math(response: str, item: Item) -> Verdict:
    gold = item.gold
    if not isinstance(gold, str) and not (
        isinstance(gold, list) and gold and all(isinstance(one, str) for one in gold)
    ):
        raise UserError(f"{item.id}: its gold is no answer of a math problem; name its suite with --suite")
    return grade_item(response, item)
