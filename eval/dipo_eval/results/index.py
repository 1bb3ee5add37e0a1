"""index.sqlite: a derived table of all results for quick questions; the folders stay the truth."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

from dipo_eval.results.store import iter_results

_TABLES = """
CREATE TABLE results (
    run TEXT, checkpoint TEXT, step INTEGER, suite TEXT, folder TEXT, weights_hash TEXT, suite_hash TEXT,
    n_items INTEGER, n_samples_per_item INTEGER, created TEXT,
    PRIMARY KEY (run, checkpoint, suite)
);
CREATE TABLE metrics (
    run TEXT, checkpoint TEXT, suite TEXT, name TEXT,
    value REAL, low REAL, high REAL, stderr REAL, n INTEGER, k INTEGER, interval TEXT,
    PRIMARY KEY (run, checkpoint, suite, name)
);
"""


def rebuild_index(results_dir: Path, left_out: Callable[[str], None] = lambda line: None) -> Path:
    """Write <results>/index.sqlite anew from the result folders and return its path. Raises OSError.

    Built beside the old one and renamed over it, so that readers never see half an index. `left_out` is told in one
    line of each results.json that is none.
    """
    results_dir.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=results_dir, prefix=".index.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        with contextlib.closing(sqlite3.connect(temporary)) as connection, connection:
            connection.executescript(_TABLES)
            _fill(connection, results_dir, left_out)
        temporary.chmod(0o644)
        path = results_dir / "index.sqlite"
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def _fill(connection: sqlite3.Connection, results_dir: Path, left_out: Callable[[str], None]) -> None:
    for folder, result in iter_results(results_dir, left_out=left_out):
        # The folder names are the key: a moved folder must not collide with the place it came from.
        run, checkpoint, suite = folder.relative_to(results_dir).parts
        connection.execute(
            "INSERT INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                run, checkpoint, result.get("step"), suite, str(folder.relative_to(results_dir)),
                result["model"]["weights_hash"], result["hashes"]["suite_hash"],
                result["n_items"], result["n_samples_per_item"], result["created"],
            ),
        )  # fmt: skip
        for name, metric in result["metrics"].items():
            columns = ("value", "low", "high", "stderr", "n", "k", "interval")
            connection.execute(
                "INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (run, checkpoint, suite, name, *(metric.get(column) for column in columns)),
            )
