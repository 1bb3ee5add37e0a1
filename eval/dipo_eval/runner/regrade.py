"""Grade stored samples again: the same responses with today's grader, on request beside another grader."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.files.bounded_file import MAX_RESULT, read_limited
from dipo_eval.grading import Verdict
from dipo_eval.harness.base import SecondGrader
from dipo_eval.results import store
from dipo_eval.results.store import RESULTS, SAMPLES
from dipo_eval.results.stored_checks import parse_json, parse_row
from dipo_eval.runner.grade import in_threads, measured, verdict, verdict_fields
from dipo_eval.runner.provenance import suite_hash
from dipo_eval.suites import Item, Suite, get_suites
from dipo_eval.suites.base import items_sha256
from dipo_eval.suites.math_file import grade_item

StoredRow = tuple[int, dict[str, Any]]  # a stored sample and the number of its line


@dataclass(frozen=True)
class Regraded:
    """A stored sample with its new verdict, and the second grader's where there is one."""

    line: int
    row: dict[str, Any]
    verdict: Verdict
    second: Verdict | None = None

    @property
    def stored(self) -> str | None:
        """The stored status, None where there is none."""
        return self.row.get("status")

    @property
    def changed(self) -> bool:
        """Whether the stored status differs."""
        return self.stored not in (None, self.verdict.status)

    @property
    def disputed(self) -> bool:
        """Whether the second grader's score differs; undecided scores 0 on both sides."""
        return self.second is not None and self.second.score != self.verdict.score

    def to_json(self, second_name: str | None) -> dict[str, Any]:
        """The row that --out writes."""
        made = {
            "item_id": self.row["item_id"],
            "sample": self.row.get("sample"),
            "stored_status": self.stored,
            **verdict_fields(self.verdict),
        }
        if self.second is not None and second_name:
            made[second_name] = {"status": self.second.status, "reason": self.second.reason}
        return made


def find_samples(path: Path) -> Path:
    """The file itself, or the samples of a results folder. Raises UserError where there is none."""
    if path.is_dir():
        if found := store.samples_file(path):
            return found
        raise UserError(f"{path}: holds no {SAMPLES}; name a folder RESULTS/RUN/CHECKPOINT/SUITE or its file")
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a {SAMPLES} of a results folder")
    return path


def read_stored(path: Path) -> list[StoredRow]:
    """The rows of a JSON-lines file, zstd-packed if it ends in .zst.

    Raises UserError that names file and line for an invalid row or one without response or gold, and for a file that is
    empty, damaged or not UTF-8.
    """
    rows = []
    number = 0
    try:
        with store.open_samples(path) as samples:
            for number, line in enumerate(store.sample_lines(samples), start=1):
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
        raise UserError(f"{where}: {error}; fix or remove the line") from None
    if row.get("gold") is None:
        raise UserError(f"{where}: has no field 'gold'; only samples with their correct answer can be graded")
    return number, row


def suite_of(path: Path, named: str | None) -> Suite | None:
    """The named suite, else that of the results.json beside the samples, else None."""
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
        line, row = stored
        item = Item(row["item_id"], [], row["gold"], row)
        found = verdict(grade, row["response"], row.get("finish_reason", ""), item)
        return Regraded(line, row, found, second(row) if second else None)

    return in_threads(one, rows, advance)


def _grade_math(response: str, item: Item) -> Verdict:
    gold = item.gold
    if not isinstance(gold, str) and not (
        isinstance(gold, list) and gold and all(isinstance(one, str) for one in gold)
    ):
        raise UserError(f"{item.id}: its gold is no answer of a math problem; name its suite with --suite")
    return grade_item(response, item)


def regraded_rows(
    suite: Suite,
    items: Sequence[Item],
    samples: int,
    rows: Sequence[Mapping[str, Any]],
    advance: Callable[[int], None] = lambda count: None,
) -> list[dict[str, Any]] | None:
    """The rows of a result with today's verdicts; None where they are not `samples` of each of these items."""
    if [row["item_id"] for row in rows] != [item.id for item in items for _ in range(samples)]:
        return None

    def one(position: int) -> dict[str, Any]:
        row = rows[position]
        found = verdict(suite.grade, row["response"], row["finish_reason"], items[position // samples])
        return {**row, **verdict_fields(found)}

    return in_threads(one, range(len(rows)), advance)


def regrade_result(folder: Path, data_dir: Path | None) -> str:
    """Grade a suite's stored result again where its grader has changed; one line on what was done.

    Raises UserError for an incomplete result, and where its items are not today's.
    """
    result, stored = store.load_result(folder), store.read_samples(folder)
    (suite,) = get_suites([result["suite"]])
    items = suite.load(data_dir, result["settings"]["limit"], result["settings"]["seed"])
    now = suite_hash(suite, items)
    if now == result["hashes"]["suite_hash"]:
        return f"{suite.name}: graded by this grader already"
    rows = None
    if items_sha256(items) == result["hashes"]["items_sha256"]:
        rows = regraded_rows(suite, items, result["n_samples_per_item"], stored)
    if rows is None:
        raise UserError(f"{folder}: its items are not today's: make the baseline again")
    hashes = {**result["hashes"], "suite_hash": now}
    made = {**result, **measured(suite, rows, result["versions"]), "hashes": hashes}
    store.write_suite(folder, rows, made, compress=not (folder / SAMPLES).exists())
    changed = sum(old["status"] != new["status"] for old, new in zip(stored, rows, strict=True))
    return f"{suite.name}: graded again, {changed} of {len(rows)} verdicts changed"
