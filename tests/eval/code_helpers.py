"""Where the tests of code grading find data and environment, and how they look for left-over processes."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.errors import UserError
from dipo_eval.grading.code.environment import DATASETS, evalplus_python
from dipo_eval.grading.code.grade import CodeGrader


def data_dir() -> Path:
    folder = Path(os.environ.get("DIPO_DATA_DIR") or Path(__file__).resolve().parents[3] / "shared" / "data")
    for _, filename, _ in DATASETS.values():
        if not (folder / filename).exists():
            pytest.skip(f"{filename} not found; set DIPO_DATA_DIR to the folder with evalplus's data files")
    return folder


def python() -> Path:
    try:
        return evalplus_python()
    except UserError as error:
        pytest.skip(str(error))


def problems(dataset: str) -> list[dict[str, Any]]:
    with gzip.open(data_dir() / DATASETS[dataset][1], "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def processes_of(mark: str) -> list[int]:
    """Processes whose command line holds ``mark``, zombies left out."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and mark.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def open_grader() -> Iterator[CodeGrader]:
    """One worker, for a fixture; skips where code cannot be isolated (the jail alone: code_runner/test_jail.py)."""
    python()
    made = CodeGrader(data_dir=data_dir())
    try:
        made.limits()
    except UserError as error:
        pytest.skip(str(error))
    yield made
    made.close()
