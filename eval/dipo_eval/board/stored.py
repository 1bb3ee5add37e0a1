"""The stored samples of a result: read once for the verdicts, and again only at the rows that the page shows."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dipo_eval.results import open_samples, samples_file

STATUSES = ("correct", "wrong", "undecided")
SampleKey = tuple[str, int]
"""(item id, index of the sample among that item's samples)."""

_STATUS = {status: status for status in STATUSES}


@dataclass
class Samples:
    """Verdict and place (in bytes of the unpacked file) of each row; `broken` counts rows that are none.

    `sha256` is that of the unpacked file, empty where there is none; `error` says why reading ended early.
    """

    statuses: dict[SampleKey, str] = field(default_factory=dict)
    offsets: dict[SampleKey, int] = field(default_factory=dict)
    broken: int = 0
    sha256: str = ""
    error: str = ""


def scan(folder: Path, names: dict[SampleKey, SampleKey]) -> Samples:
    """The samples of a folder. `names` shares equal keys between checkpoints: most of the memory is theirs."""
    found = Samples()
    path = samples_file(folder)
    if path is None:
        return found
    digest = hashlib.sha256()
    place = 0
    try:
        with open_samples(path) as lines:
            for line in lines:
                digest.update(line)
                _add(found, line, place, names)
                place += len(line)
        found.sha256 = digest.hexdigest()
    except OSError as error:
        found.error = str(error)
    return found


def _add(found: Samples, line: bytes, place: int, names: dict[SampleKey, SampleKey]) -> None:
    if not line.strip():
        return
    row = _parse(line)
    status = _STATUS.get(row["status"]) if row is not None and isinstance(row.get("status"), str) else None
    if row is None or status is None or "item_id" not in row:
        found.broken += 1
        return
    key = row_key(row)
    key = names.setdefault(key, key)
    found.statuses[key] = status
    found.offsets[key] = place


def rows_at(folder: Path, offsets: Mapping[SampleKey, int]) -> Iterator[tuple[SampleKey, dict[str, Any]]]:
    """The rows at these places, in the order of the file; one that has changed meanwhile is left out."""
    path = samples_file(folder) if offsets else None
    if path is None:
        return
    try:
        with open_samples(path) as lines:
            for key, place in sorted(offsets.items(), key=lambda pair: pair[1]):
                lines.seek(place)
                row = _parse(lines.readline())
                if row is not None and row.get("status") in STATUSES and row_key(row) == key:
                    yield key, row
    except OSError:
        return


def row_key(row: Mapping[str, Any]) -> SampleKey:
    """The (item id, sample) of one row of samples.jsonl."""
    return (str(row.get("item_id")), whole(row.get("sample")) or 0)


def number(value: Any) -> float | None:
    """`value` as a finite float, else None (bool, text, NaN and infinity are no numbers here)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        as_float = float(value)
    except OverflowError:
        return None
    return as_float if math.isfinite(as_float) else None


def whole(value: Any) -> int | None:
    """`value` as an int, else None."""
    as_float = number(value)
    return None if as_float is None else int(as_float)


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line.decode("utf-8", errors="replace"))
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
