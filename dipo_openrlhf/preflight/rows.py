"""The rows of a run's prompts with their places: files, which are read here, and all else as OpenRLHF loads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dipo_eval.errors import UserError, one_line, short_repr
from dipo_eval.suites.data_file import parse_line
from dipo_openrlhf.data.parquet import parquet_rows

FORMATS = (".json", ".jsonl", ".parquet")
_OTHERS = (".csv", ".arrow")  # OpenRLHF reads them too
_KEY = "data.prompt_dataset"
_LARGEST_WHOLE = 64 << 20  # bytes that are read at once, for a better message alone

Row = tuple[str, dict[str, Any]]  # "file:line" or "file: row n", and the row


def data_sets(names: str) -> list[str]:
    """The data sets that are joined by commas. Raises UserError for a file that is not here or that no one reads."""
    found = [name.strip() for name in names.split(",")]
    for name in found:
        _check_name(name)
    return found


def _check_name(name: str) -> None:
    path, place = Path(name).expanduser(), f"{_KEY}: {name!r}"
    if not name:
        raise UserError(f"{place}: an empty name between commas: take the comma out")
    if path.suffix in (".gz", ".zst", ".zip", ".xz", ".bz2"):
        raise UserError(f"{place}: OpenRLHF reads no packed files: unpack it")
    if path.suffix in FORMATS + _OTHERS and not path.is_file():
        raise UserError(f"{place}: no such file")
    if path.is_file() and path.suffix not in FORMATS + _OTHERS:
        raise UserError(f"{place}: must end in {', '.join(FORMATS)}; OpenRLHF tells by it how a file is read")


def is_read_here(name: str) -> bool:
    """Whether a data set is one file whose rows have their places without the data sets library."""
    return Path(name).suffix in FORMATS


def read_rows(name: str, split: str) -> Iterator[Row]:
    """The rows of a data set, in their order. Raises UserError with file and line for one that cannot be read."""
    if not is_read_here(name):
        yield from _loaded(name, split)
        return
    path = Path(name).expanduser()
    if path.suffix == ".parquet":
        yield from parquet_rows(path)
        return
    try:
        yield from (_json if path.suffix == ".json" else _json_lines)(path, name)
    except OSError as error:
        raise UserError(f"{_KEY}: {name!r}: cannot be read ({error.strerror or error})") from None


def _loaded(name: str, split: str) -> Iterator[Row]:
    """Of a hub, a folder, or a format that the data sets library reads; it keeps what it has loaded."""
    try:
        data = _load(name, split)
    except AttributeError:  # a dict of splits has no select()
        raise UserError(
            f"{_KEY}: {name!r}: has no split {split!r}: name one of its own as data.prompt_split"
        ) from None
    except Exception as error:
        found = f"({one_line(error)})"
        if Path(name).expanduser().is_dir():
            raise UserError(
                f"{_KEY}: {name!r}: the folder is no data set {found}: name the file in it"
            ) from None
        raise UserError(
            f"{_KEY}: {name!r}: is no file here, and cannot be loaded as a data set {found}"
        ) from None
    for number, row in enumerate(data, 1):
        yield f"{name}: row {number}", row


def check_library_reads(names: str, shares: str | None, split: str, rows: list[Row]) -> None:
    """Load the data sets as the run will, which keeps what is loaded: rows that are sound one by one may have no common
    columns, for a file is read in blocks of 10 MB. rows: of all of them. Raises UserError with the row that differs.
    """
    try:
        _load(names, split, shares)
    except Exception as error:
        cause = one_line(error.__cause__ or error)
        raise UserError(
            f"{_odd_row(rows) or f'{_KEY}: {names!r}'}: cannot be loaded by the data sets library, as the run does "
            f"({cause[:200]}): give every row the same keys, with values of one type"
        ) from None


def _load(names: str, split: str, shares: str | None = None) -> Any:
    from datasets.utils import disable_progress_bars, enable_progress_bars
    from openrlhf.datasets.utils import blending_datasets

    silent = SimpleNamespace(
        print=lambda *_: None, is_rank_0=lambda: False, args=SimpleNamespace(use_ms=False)
    )
    disable_progress_bars()
    try:
        return blending_datasets(names, shares, silent, max_count=10**12, dataset_split=split)
    finally:
        enable_progress_bars()


def have_one_form(rows: list[Row]) -> bool:
    """Whether all rows have the same keys, with plain values of one type each: such a file the library reads as well."""
    if any(row.keys() != rows[0][1].keys() for _, row in rows):
        return False
    types = [{type(row[key]) for _, row in rows} for key in (rows[0][1] if rows else ())]
    return all(len(one) == 1 and one <= {str, int, bool} for one in types)


def _odd_row(rows: list[Row]) -> str:
    """The last row with a key, or a type of value, that none before it has: earlier ones may be in the first block."""
    seen: dict[str, set[type]] = {key: set() for key in rows[0][1]} if rows else {}
    found = ""
    for place, row in rows:
        for key, value in row.items():
            types = seen.setdefault(key, set())
            if value is None or type(value) in types:
                continue
            if types or row is not rows[0][1]:
                other = "of another type than before" if types else "in no row before"
                found = f"{place}: {key!r} ({short_repr(value, 40)}) is {other}"
            types.add(type(value))
    return found


def _json_lines(path: Path, name: str) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if number == 1 and line.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
                raise UserError(f"{name}:1: begins with a byte order mark; save it as UTF-8 without one")
            if line.strip():
                place = f"{name}:{number}"
                yield place, _object(_parsed(_text(line, place), place, path), place)


def _parsed(line: str, place: str, path: Path) -> Any:
    try:
        return parse_line(line, place)
    except UserError:
        if place.endswith(":1") and line.strip() in ("{", "[") and (keys := _whole_keys(path)):
            raise UserError(
                f"{place}: the file is one JSON value of several lines ({keys}): write the rows, an object a line, or a "
                "list of objects in a .json file"
            ) from None
        raise


def _whole_keys(path: Path) -> str:
    """What a file holds that is JSON as a whole, and no rows; empty for anything else, and for large files."""
    if path.stat().st_size > _LARGEST_WHOLE:
        return ""
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return ""
    return ", ".join(map(str, found))[:80] if isinstance(found, dict) else "a list"


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
