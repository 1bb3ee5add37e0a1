"""Where code grading finds evalplus's environment, its data files and its cache."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from dipo_eval.code_runner.problems import EVALPLUS_VERSION
from dipo_eval.errors import UserError
from dipo_eval.files.atomic import write_atomic
from dipo_eval.workers.process import Program

PYTHON_VARIABLE = "DIPO_EVALPLUS_PYTHON"
CACHE_VARIABLE = "DIPO_CACHE_DIR"
SANDBOX_VARIABLE = "DIPO_CODE_SANDBOX"

# Data set: variable that evalplus reads, file of its release, md5 of the decompressed file (evalplus's own data hash).
DATASETS = {
    "humaneval": (
        "HUMANEVAL_OVERRIDE_PATH", "HumanEvalPlus-v0.1.10.jsonl.gz", "fe585eb4df8c88d844eeb463ea4d0302",
    ),
    "mbpp": ("MBPP_OVERRIDE_PATH", "MbppPlus-v0.2.0.jsonl.gz", "ee43ecabebf20deef4bb776a405ac5b1"),
}  # fmt: skip


def evalplus_python() -> Path:
    """The interpreter that has evalplus: DIPO_EVALPLUS_PYTHON, else that of our own environment's folder + "-evalplus".

    Raises UserError where there is none, or one without evalplus 0.3.1.
    """
    named = os.environ.get(PYTHON_VARIABLE)
    path = Path(named) if named else Path(f"{sys.prefix}-evalplus") / "bin" / "python"
    if not path.is_file():
        raise UserError(
            f"{path}: no Python with evalplus {EVALPLUS_VERSION}, which grades code; "
            f"run `make evalplus`, or set {PYTHON_VARIABLE}"
        )
    found = _evalplus_of(path)
    if found != EVALPLUS_VERSION:
        raise UserError(
            f"{path}: has no evalplus {EVALPLUS_VERSION} (found: {found or 'none'}); run `make evalplus`"
        )
    return path


@lru_cache(maxsize=8)
def _evalplus_of(python: Path) -> str:
    ask = "from importlib.metadata import version; import numpy, psutil, appdirs, msgpack; print(version('evalplus'))"
    try:
        command = [str(python), "-I", "-c", ask]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def sandbox_walls() -> list[str]:
    """The kinds of walls to try around code, in order: DIPO_CODE_SANDBOX names one; unset or auto, the strong ones.

    Raises UserError for a name that is none.
    """
    named = os.environ.get(SANDBOX_VARIABLE) or "auto"
    if named == "auto":
        return ["namespaces", "landlock"]
    if named not in ("namespaces", "landlock", "weak"):
        raise UserError(
            f"{SANDBOX_VARIABLE}={named!r}: must be auto, namespaces, landlock or weak (docs/security.md)"
        )
    return [named]


def program(load: str, datasets: Iterable[str], data_dir: Path | None = None, **settings: Any) -> Program:
    """What a worker runs in evalplus's environment, with the walls to try, the cache, and these data sets.

    Raises UserError where the environment or a data file is missing.
    """
    variables = {DATASETS[dataset][0]: str(data_path(dataset, data_dir)) for dataset in datasets}
    settings |= {"cache": str(cache_dir() / "evalplus"), "walls": sandbox_walls()}
    return Program(load, settings, python=evalplus_python(), variables=variables)


def cache_dir() -> Path:
    """The folder for decompressed data and expected results: DIPO_CACHE_DIR, else dipo in the user's cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dipo"


def dataset_of(task_id: str) -> str:
    """The data set of a task id such as HumanEval/7 or Mbpp/2. Raises UserError for any other."""
    prefix, _, number = task_id.partition("/")
    if prefix.lower() in DATASETS and number.isdecimal():
        return prefix.lower()
    raise UserError(f"{task_id!r} is no problem of HumanEval+ or MBPP+; ids look like HumanEval/7 and Mbpp/2")


def data_path(dataset: str, data_dir: Path | None = None) -> Path:
    """The decompressed, verified data file of a data set, made in the cache folder when first asked for.

    evalplus's own variable (HUMANEVAL_OVERRIDE_PATH, MBPP_OVERRIDE_PATH) comes first, then ``data_dir``, then
    DIPO_DATA_DIR. Raises UserError where the file is missing, damaged or not the official one.
    """
    variable, filename, digest = DATASETS[dataset]
    named = os.environ.get(variable)
    if named:
        _verify(Path(named), _read(Path(named)), digest)
        return Path(named)
    made = cache_dir() / f"{digest}-{filename.removesuffix('.gz')}"
    if made.is_file() and hashlib.md5(made.read_bytes(), usedforsecurity=False).hexdigest() == digest:
        return made
    folder = data_dir if data_dir is not None else os.environ.get("DIPO_DATA_DIR")
    if not folder:
        raise UserError(
            f"{filename} is needed: name its folder with --data-dir or the variable DIPO_DATA_DIR"
        )
    path = Path(folder) / filename
    try:
        data = gzip.decompress(_read(path))
    except (gzip.BadGzipFile, EOFError) as error:
        raise UserError(f"{path}: is not a complete gzip file ({error}); get the file again") from error
    _verify(path, data, digest)
    made.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomic(made, data)
    return made


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); name the folder that holds it"
        ) from error


def _verify(path: Path, data: bytes, digest: str) -> None:
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != digest:
        raise UserError(
            f"{path}: its data has md5 {found}, evalplus's release has {digest}; get the file again"
        )
