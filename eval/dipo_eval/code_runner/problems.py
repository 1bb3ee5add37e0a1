"""The problems of HumanEval+ and MBPP+ through evalplus's own loaders, and their expected results, kept on disk."""

from __future__ import annotations

import contextlib
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
        folder = self.cache / f"{EVALPLUS_VERSION}-{self._hashes[dataset]}"
        path = folder / f"{task_id.replace('/', '_')}.msgpack"
        if self._expected[0] != str(path):
            self._expected = (str(path), _read(path) or _compute(dataset, problem, path))
        return problem, self._expected[1]

    def _load(self, dataset: str) -> None:
        stand_in_for_downloaders()
        import evalplus.data as data

        name = {"humaneval": "human_eval", "mbpp": "mbpp"}[dataset]
        self._problems[dataset] = getattr(data, f"get_{name}_plus")()
        self._hashes[dataset] = getattr(data, f"get_{name}_plus_hash")()


def stand_in_for_downloaders() -> None:
    """evalplus.data imports packages that it needs for downloads alone: the data is given by its variables."""
    for name in ("wget", "tempdir", "datasets"):
        stand_in(name, "load_dataset")


def stand_in(name: str, attribute: str) -> None:
    """A module in the place of one that is imported and not used."""
    if name not in sys.modules:
        sys.modules[name] = types.ModuleType(name)
        setattr(sys.modules[name], attribute, None)


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
    with contextlib.suppress(OSError), tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder, path.name)  # on a full disk it is computed again next time
        made.write_bytes(data)
        made.replace(path)
