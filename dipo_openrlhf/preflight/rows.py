"""The rows of prompts files with their places: every format that OpenRLHF reads from one file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError, one_line, short_repr
from dipo_eval.suites.data_file import parse_line

FORMATS = (".json", ".jsonl", ".parquet")
_OTHERS = (".csv", ".arrow", ".py")  # OpenRLHF reads them too
_KEY = "data.prompt_dataset"

Row = tuple[str, dict[str, Any]]  # "file:line" or "file: row n", and the row


def local_files(names: str) -> list[str]:
    """Of the data sets, joined by commas, those that are one file here. Raises UserError for one that no one reads."""
    return [name for name in map(str.strip, names.split(",")) if _is_file(name)]


def _is_file(name: str) -> bool:
    path, place = Path(name).expanduser(), f"{_KEY}: {name!r}"
    if not name:
        raise UserError(f"{place}: an empty name between commas: take the comma out")
    if path.suffix in (".gz", ".zst", ".zip", ".xz", ".bz2"):
        raise UserError(f"{place}: OpenRLHF reads no packed files: unpack it")
    if path.suffix in FORMATS:
        if not path.is_file():
            raise UserError(f"{place}: no such file")
        return True
    if path.is_file() and path.suffix not in _OTHERS:
        raise UserError(f"{place}: must end in {', '.join(FORMATS)}; OpenRLHF tells by it how a file is read")
    return False


def read_rows(name: str) -> Iterator[Row]:
    """The rows of a file, in their order. Raises UserError with file and line for one that cannot be read."""
    path = Path(name).expanduser()
    reader = {".parquet": _parquet, ".json": _json}.get(path.suffix, _json_lines)
    try:
        yield from reader(path, name)
    except OSError as error:
        raise UserError(f"{_KEY}: {name!r}: cannot be read ({error.strerror or error})") from None


def _json_lines(path: Path, name: str) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if number == 1 and line.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
                raise UserError(f"{name}:1: begins with a byte order mark; save it as UTF-8 without one")
            if line.strip():
                place = f"{name}:{number}"
                yield place, _object(parse_line(_text(line, place), place), place)


def _json(path: Path, name: str) -> Iterator[Row]:
    """One list, or JSON lines under another name."""
    with path.open("rb") as file:
        first = file.read(64).lstrip()[:1]
    if first != b"[":
        yield from _json_lines(path, name)
        return
    try:
        found = json.loads(_text(path.read_bytes(), name))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name}: not valid JSON ({one_line(error)})") from None
    for number, row in enumerate(found, 1):
        yield f"{name}: row {number}", _object(row, f"{name}: row {number}")


def _parquet(path: Path, name: str) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{name}: row {number}", row
    except pa.ArrowException as error:
        raise UserError(f"{_KEY}: {name!r}: is not a readable parquet file ({one_line(error)})") from None


def _text(content: bytes, place: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: is not UTF-8 (byte {error.start} of the line); save it as UTF-8") from None


def _object(row: Any, place: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise UserError(f"{place}: is {short_repr(row, 40)}, not an object of keys and values")
    return row


def looks_like_date(value: Any) -> bool:
    """A text that pyarrow's JSON reader, and so the data sets library, takes for a time stamp."""
    if not isinstance(value, str) or len(value) < 10 or not value[:4].isdecimal() or value[4] != "-":
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True
