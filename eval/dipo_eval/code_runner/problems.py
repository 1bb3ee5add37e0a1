"""The problems of HumanEval+ and MBPP+ through evalplus's own loaders, and their expected results, kept on disk."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack

from dipo_eval.code_runner import wire

EVALPLUS_VERSION = "0.3.1"
PARTS = ("base", "plus")


@dataclass(frozen=True)
class Expected:
    """Of one test an element: the result, and the seconds that the reference took. ``read_s``: to read the results."""

    results: list[Any]
    seconds: list[float]
    read_s: float


class Problems:
    """Problems by data set and task id, read when first asked for. ``cache``: a folder of this user's own."""

    def __init__(self, cache: str) -> None:
        self.cache = Path(cache)
        self._problems: dict[str, dict[str, dict[str, Any]]] = {}
        self._hashes: dict[str, str] = {}
        self._expected: tuple[str, dict[str, Expected]] = ("", {})

    def get(self, dataset: str, task_id: str) -> tuple[dict[str, Any], dict[str, Expected]]:
        """A problem and the expected results of its base and plus tests. KeyError: unknown.

        evalplus computes expected results by running the reference solution, for all problems minutes; here
        each is computed when first needed and kept, as plain data (wire.py). The reference solutions are the data
        set's own. The last one stays in memory.
        """
        if dataset not in self._problems:
            self._load(dataset)
        problem = self._problems[dataset][task_id]
        path = (
            self.cache
            / f"{EVALPLUS_VERSION}-{self._hashes[dataset]}"
            / f"{task_id.replace('/', '_')}.msgpack"
        )
        if self._expected[0] != str(path):
            self._expected = (str(path), _read(path) or _compute(dataset, problem, path))
        return problem, self._expected[1]

    def _load(self, dataset: str) -> None:
        stand_in_for_downloaders()
        import evalplus.data as data

        if dataset == "humaneval":
            self._problems[dataset], digest = data.get_human_eval_plus(), data.get_human_eval_plus_hash()
        elif dataset == "mbpp":
            self._problems[dataset], digest = data.get_mbpp_plus(), data.get_mbpp_plus_hash()
        else:
            raise KeyError(dataset)
        self._hashes[dataset] = digest


def stand_in_for_downloaders() -> None:
    """evalplus.data imports packages that it needs for downloads alone: the data is given by its variables."""
    for name in ("wget", "tempdir", "datasets"):
        if name not in sys.modules:
            stand_in = types.ModuleType(name)
            stand_in.load_dataset = None  # type: ignore[attr-defined]
            sys.modules[name] = stand_in


def _read(path: Path) -> dict[str, Expected] | None:
    """What ``_compute`` wrote; None where there is none, or a damaged one."""
    try:
        stored = msgpack.unpackb(path.read_bytes())
        return {name: _expected(**stored[name]) for name in PARTS}
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _expected(results: list[bytes], seconds: list[float]) -> Expected:
    started = time.process_time()
    read = [wire.load(result) for result in results]
    return Expected(read, list(map(float, seconds)), time.process_time() - started)


def _compute(dataset: str, problem: dict[str, Any], path: Path) -> dict[str, Expected]:
    from evalplus.eval._special_oracle import MBPP_OUTPUT_NOT_NONE_TASKS
    from evalplus.gen.util import trusted_exec

    not_none = dataset == "mbpp" and problem["entry_point"] in MBPP_OUTPUT_NOT_NONE_TASKS
    stored: dict[str, Any] = {}
    for name in PARTS:
        results, seconds = trusted_exec(
            problem["prompt"] + problem["canonical_solution"], problem[f"{name}_input"], problem["entry_point"],
            record_time=True, output_not_none=not_none,
        )  # fmt: skip
        stored[name] = {"results": list(map(wire.dump, results)), "seconds": seconds}
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(path, msgpack.packb(stored))
    return {name: _expected(**stored[name]) for name in PARTS}


def _write(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent)
    with contextlib.suppress(OSError):  # a full disk: it is computed again next time
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(name, path)
        return
    with contextlib.suppress(OSError):
        os.unlink(name)
