"""The stored samples of a result: read once for the verdicts, and again only at the rows that the page shows."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dipo_eval.files.bounded_file import MAX_LINE
from dipo_eval.results.store import open_samples, sample_lines, samples_file
from dipo_eval.results.stored_checks import MOST, STATUSES, parse_row

LARGEST = 1e100
"""A number above this is none that can be drawn: sums and squares of it would be infinite."""

SampleKey = tuple[str, int]
"""(item id, index of the sample among that item's samples)."""

_STATUS = {status: status for status in STATUSES}


@dataclass
class Samples:
    """Verdict and place (in bytes of the unpacked file) of each row; `broken` counts rows that are none, `first` is one.

    `sha256` is that of the unpacked file, empty where there is none; `error` says why reading ended early.
    """

    statuses: dict[SampleKey, str] = field(default_factory=dict)
    offsets: dict[SampleKey, int] = field(default_factory=dict)
    broken: int = 0
    first: str = ""
    sha256: str = ""
    error: str = ""


def scan(folder: Path, names: dict[SampleKey, SampleKey]) -> Samples:
    """The samples of a folder. `names` shares equal keys between checkpoints: most of the memory is theirs."""
    found = Samples()
    digest = hashlib.sha256()
    place = 0
    try:
        path = samples_file(folder)
        if path is None:
            return found
        with open_samples(path) as samples:
            for number, line in enumerate(sample_lines(samples), start=1):
                digest.update(line)
                if line.strip():
                    _add(found, line, number, place, names)
                place += len(line)
        found.sha256 = digest.hexdigest()
    except OSError as error:
        found.error = str(error)
    return found


def _add(found: Samples, line: bytes, number: int, place: int, names: dict[SampleKey, SampleKey]) -> None:
    try:
        row = parse_row(line)
        key = row_key(row)
        if key in found.statuses:
            raise ValueError("its item and sample are there twice")
    except ValueError as error:
        found.broken += 1
        found.first = found.first or f"line {number}: {error}"
        return
    key = names.setdefault(key, key)
    found.statuses[key] = _STATUS[row["status"]]
    found.offsets[key] = place


def rows_at(folder: Path, offsets: Mapping[SampleKey, int]) -> Iterator[tuple[SampleKey, dict[str, Any]]]:
    """The rows at these places, in the order of the file; one that has changed meanwhile is left out."""
    try:
        path = samples_file(folder) if offsets else None
        if path is None:
            return
        with open_samples(path) as lines:
            for key, place in sorted(offsets.items(), key=lambda pair: pair[1]):
                lines.seek(place)
                try:
                    row = parse_row(lines.readline(MAX_LINE))
                except ValueError:
                    continue
                if row_key(row) == key:
                    yield key, row
    except OSError:
        return


def row_key(row: Mapping[str, Any]) -> SampleKey:
    """The (item id, sample) of one row of samples.jsonl."""
    return (str(row.get("item_id")), whole(row.get("sample")) or 0)


def number(value: Any) -> float | None:
    """`value` as a float, else None (bool, text, NaN, infinity and what is beyond LARGEST are no numbers here)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        as_float = float(value)
    except OverflowError:
        return None
    return as_float if math.isfinite(as_float) and abs(as_float) <= LARGEST else None


def whole(value: Any) -> int | None:
    """`value` as an int of a size that can be counted, else None."""
    as_float = number(value)
    return None if as_float is None or abs(as_float) > MOST else int(as_float)
