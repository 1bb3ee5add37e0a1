"""Where a data set's rows come from: a local file, the data folder, or the hub. Not a data set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dipo_eval.errors import UserError
from dipo_eval.suites.data_file import Record, check_depth, find_file, read_records
from dipo_eval.suites.hub import hub_records
from dipo_openrlhf.data.base import Dataset
from dipo_openrlhf.data.parquet import parquet_rows

ENDINGS = (".jsonl", ".json", ".parquet")


@dataclass(frozen=True)
class Source:
    """Rows with their places, read lazily.

    `published`: the rows are those of the published set, whose faults the user cannot fix. `sha256`: the file's; None
    for the hub's rows.
    """

    name: str
    rows: Iterator[tuple[str, Record]]
    published: bool
    sha256: str | None = None


def open_source(dataset: Dataset, file: Path | None, data_dir: Path | None) -> Source:
    """`file`, else the first of the data set's files in the data folder, else its copy on the hub.

    Raises UserError in one line, which names the local files that are accepted, where there is none of them.
    """
    if file is not None:
        if not file.is_file():
            raise UserError(f"--from {file}: no such file; {accepted(dataset)}")
        return _local(dataset, file)
    for name in dataset.files:
        path = find_file(data_dir, name)
        if path is not None:
            return _local(dataset, path)
    wanted = " or ".join(dataset.files)
    if dataset.hub is None:
        raise UserError(
            f"{dataset.name}: no {wanted} in the folder of --data-dir or DIPO_DATA_DIR, and no hub has it: get it "
            f"from {dataset.source}; {accepted(dataset)}"
        )
    try:
        rows = hub_records(dataset.hub)
    except UserError as error:
        raise UserError(
            f"{dataset.name}: {error}, and there is no {wanted} in the folder of --data-dir or DIPO_DATA_DIR; "
            f"{accepted(dataset)}"
        ) from None
    name = f"{dataset.hub.name} of the hub"
    return Source(name, ((f"{name}:{number}", row) for number, row in rows), published=True)


def accepted(dataset: Dataset) -> str:
    """What a local file must be, as the end of a message."""
    return f"--from takes a {', '.join(ENDINGS)} file whose rows hold {dataset.fields}"


def _local(dataset: Dataset, path: Path) -> Source:
    readers = {".jsonl": _json_lines, ".json": _json_list, ".parquet": parquet_rows}
    if path.suffix not in readers:
        raise UserError(f"{path}: is not a supported file type; {accepted(dataset)}")
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    known = digest in dataset.published.values()
    return Source(str(path), readers[path.suffix](path), published=known, sha256=digest)


def _json_lines(path: Path) -> Iterator[tuple[str, Record]]:
    for number, record in read_records(path).rows:
        yield f"{path}:{number}", record


def _json_list(path: Path) -> Iterator[tuple[str, Record]]:
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise UserError(
            f"{path}: not valid JSON ({reason}); fix it, or give one object a line as .jsonl"
        ) from None
    if not isinstance(found, list):
        raise UserError(f"{path}: is a JSON {type(found).__name__}; it must be a list of objects")
    for number, record in enumerate(found, start=1):
        if not isinstance(record, dict):
            raise UserError(f"{path}: row {number} is a {type(record).__name__}, not an object")
        check_depth(record, f"{path}: row {number}")
        yield f"{path}: row {number}", record
