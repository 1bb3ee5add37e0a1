"""The file of a suite's problems in the data folder, checked by its hash, else the hub's copy. Not a suite."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.suites.hub import HubData, hub_records

MAX_DEPTH = 100
_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels; fix or remove it"
ACCEPT_VARIABLE = "DIPO_ACCEPT_DATA"
Record = dict[str, Any]


@dataclass(frozen=True)
class DataFile:
    """A file of the data folder. ``sha256``: of the published file; None: unknown."""

    name: str
    sha256: str | None = None
    hub: HubData | None = None


def find_file(data_dir: Path | None, name: str) -> Path | None:
    """The file of that name in ``data_dir``, or in the folder of DIPO_DATA_DIR; None where there is none."""
    path = _path(data_dir, name)
    return path if path is not None and path.is_file() else None


def _path(data_dir: Path | None, name: str) -> Path | None:
    folder = data_dir if data_dir is not None else os.environ.get("DIPO_DATA_DIR")
    return Path(folder) / name if folder else None


@dataclass(frozen=True)
class Records:
    """Rows with their line numbers, and their source; ``sha256`` of the file, None for the hub's."""

    source: str
    rows: list[tuple[int, Record]]
    sha256: str | None = None


def records(data_dir: Path | None, data: DataFile) -> Records:
    """The rows of a file, else of the hub's data set; `check_hash` compares the hash.

    Raises UserError in one line where neither is available, or a line is not a JSON object.
    """
    if found := find_file(data_dir, data.name):
        return read_records(found)
    path = _path(data_dir, data.name)
    missing = (
        f"{path}: no such file; name the folder that holds {data.name} with --data-dir"
        if path
        else f"{data.name} is needed: name its folder with --data-dir or the variable DIPO_DATA_DIR"
    )
    if data.hub is None:
        raise UserError(missing)
    try:
        return Records(f"{data.hub.name} of the hub", hub_records(data.hub))
    except UserError as error:
        raise UserError(f"{missing}; {error}") from None


def check_hash(found: Records, data: DataFile) -> None:
    """Raises UserError for other data than the benchmark's, unless DIPO_ACCEPT_DATA names the file (or is all).

    Called last: a message about a line says more than one about a hash.
    """
    accepted = {name.strip() for name in os.environ.get(ACCEPT_VARIABLE, "").split(",")}
    if found.sha256 is None or data.sha256 in (None, found.sha256) or accepted & {"all", data.name}:
        return
    raise UserError(
        f"{found.source}: is not the benchmark's file: sha256 {found.sha256}, expected {data.sha256}; "
        f"get it again, or set {ACCEPT_VARIABLE}={data.name} to evaluate on other data"
    )


def read_records(path: Path) -> Records:
    """The objects of a JSON-lines file, blank lines skipped. UserError names the first bad line."""
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")  # Windows programs begin a file with a byte order mark
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); get the file again") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 (byte {error.start}); get the file again") from error
    found = Records(str(path), [], hashlib.sha256(content).hexdigest())
    # Not splitlines(): U+2028 and the like are allowed inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        record = parse_line(line, f"{path}:{number}")
        if not isinstance(record, dict):
            raise UserError(f"{path}:{number}: is a {type(record).__name__}, not a JSON object; fix the line")
        found.rows.append((number, record))
    return found


def parse_line(line: str, where: str) -> Any:
    """The JSON value of one line of a user's file. UserError with the place if invalid or nested too deeply."""
    try:
        value = json.loads(line)
    except RecursionError:
        raise UserError(f"{where}: {_TOO_DEEP}") from None
    except ValueError as error:
        raise UserError(f"{where}: not valid JSON ({error}); fix or remove the line") from error
    if line.count("[") + line.count("{") > MAX_DEPTH:
        check_depth(value, where)
    return value


def check_depth(value: Any, where: str) -> None:
    """Raises UserError with the place for JSON nested too deeply to be written or shown later."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise UserError(f"{where}: {_TOO_DEEP}")
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
        ]
