"""The rows of a parquet file, in parts: a file may be larger than the memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dipo_eval.errors import UserError, one_line
from dipo_eval.suites.data_file import Record

_ROWS = 1024  # read at once


def parquet_rows(path: Path) -> Iterator[tuple[str, Record]]:
    """("FILE: row n", row), in their order. Raises UserError where the file is no readable parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}: row {number}", row
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: is not a readable parquet file ({one_line(error)})") from None
