"""The stored samples of a result: read once for the verdicts, and again at the rows that the page shows."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dipo_eval.files.bounded_file import MAX_LINE
from dipo_eval.results.store import open_samples, sample_lines, samples_file
from dipo_eval.results.stored_checks import MAX_COUNT, parse_row

LARGEST = 1e100
"""Numbers above this cannot be drawn: their sums and squares would be infinite."""

SampleKey = tuple[str, int]
"""(item id, index of the sample among that item's samples)."""


@dataclass
class Samples:
    """Verdict and offset (bytes in the unpacked file) of each row; `broken` counts invalid rows, `first` is one.

    `sha256` is that of the unpacked file, empty without one; `error` says why reading ended early.
    """

    statuses: dict[SampleKey, str] = field(default_factory=dict)
    offsets: dict[SampleKey, int] = field(default_factory=dict)
    broken: int = 0
    first: str = ""
    sha256: str = ""
    error: str = ""


def scan(folder: Path, names: dict[SampleKey, SampleKey]) -> Samples:
    """The samples of a folder. `names` shares equal keys between checkpoints: they dominate the memory."""
    found, digest, offset = Samples(), hashlib.sha256(), 0
    try:
        path = samples_file(folder)
        if path is None:
            return found
        with open_samples(path) as samples:
            for number, line in enumerate(sample_lines(samples), start=1):
                digest.update(line)
                try:
                    if line.strip():
                        _add(found, parse_row(line), offset, names)
                except ValueError as error:
                    found.broken += 1
                    found.first = found.first or f"line {number}: {error}"
                offset += len(line)
        found.sha256 = digest.hexdigest()
    except OSError as error:
        found.error = str(error)
    return found


def _add(found: Samples, row: dict[str, Any], offset: int, names: dict[SampleKey, SampleKey]) -> None:
    key = names.setdefault(row_key(row), row_key(row))
    if key in found.statuses:
        raise ValueError("its item and sample are there twice")
    found.statuses[key] = sys.intern(row["status"])
    found.offsets[key] = offset


def rows_at(folder: Path, offsets: Mapping[SampleKey, int]) -> Iterator[tuple[SampleKey, dict[str, Any]]]:
    """The rows at these offsets, in file order; one that has changed meanwhile is left out."""
    with contextlib.suppress(OSError):
        path = samples_file(folder) if offsets else None
        if path is None:
            return
        with open_samples(path) as lines:
            for key, offset in sorted(offsets.items(), key=lambda pair: pair[1]):
                lines.seek(offset)
                with contextlib.suppress(ValueError):
                    row = parse_row(lines.readline(MAX_LINE))
                    if row_key(row) == key:
                        yield key, row


def row_key(row: Mapping[str, Any]) -> SampleKey:
    """The (item id, sample) of one row of samples.jsonl."""
    return (str(row.get("item_id")), whole(row.get("sample")) or 0)


def number(value: Any) -> float | None:
    """`value` as a float; None for bool, strings, NaN, infinity and what is beyond LARGEST."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        return None
    return float(value)


def whole(value: Any, least: int = -MAX_COUNT) -> int | None:
    """`value` as an int between `least` and MAX_COUNT, else None."""
    as_float = number(value)
    return None if as_float is None or not least <= int(as_float) <= MAX_COUNT else int(as_float)
