"""The problems of HumanEval+ and MBPP+ through evalplus's own loaders, and their expected results, kept on disk."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

EVALPLUS_VERSION = "0.3.1"


class Problems:
    """Problems by data set and task id, read when first asked for. ``cache``: a folder of this user's own."""

    def __init__(self, cache: str) -> None:
        self.cache = Path(cache)
        self._problems: dict[str, dict[str, dict[str, Any]]] = {}
        self._hashes: dict[str, str] = {}

    def get(self, dataset: str, task_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """A problem and its oracle: expected results and seconds of the base and plus tests. KeyError: unknown.

        evalplus computes expected results by running the reference solution, for all problems minutes; here
        each is computed when first needed and kept. The reference solutions are the data set's own.
        """
        if dataset not in self._problems:
            self._load(dataset)
        problem = self._problems[dataset][task_id]
        path = self.cache / f"{EVALPLUS_VERSION}-{self._hashes[dataset]}" / f"{task_id.replace('/', '_')}.pkl"
        with contextlib.suppress(OSError, EOFError, pickle.UnpicklingError):
            return problem, pickle.loads(path.read_bytes())  # written below, by this user
        oracle = _oracle(dataset, problem)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(path, pickle.dumps(oracle))
        return problem, oracle

    def part(self, dataset: str, task_id: str, name: str) -> tuple[dict[str, Any], list[Any], list[float]]:
        """(problem, expected results, seconds of the reference) of the "base" or the "plus" tests."""
        problem, oracle = self.get(dataset, task_id)
        return problem, oracle[name], oracle[f"{name}_time"]

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


def _oracle(dataset: str, problem: dict[str, Any]) -> dict[str, Any]:
    from evalplus.eval._special_oracle import MBPP_OUTPUT_NOT_NONE_TASKS
    from evalplus.gen.util import trusted_exec

    not_none = dataset == "mbpp" and problem["entry_point"] in MBPP_OUTPUT_NOT_NONE_TASKS
    oracle: dict[str, Any] = {}
    for name in ("base", "plus"):
        oracle[name], oracle[f"{name}_time"] = trusted_exec(
            problem["prompt"] + problem["canonical_solution"], problem[f"{name}_input"], problem["entry_point"],
            record_time=True, output_not_none=not_none,
        )  # fmt: skip
    return oracle


def _write(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    os.replace(name, path)
