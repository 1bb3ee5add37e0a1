"""A run's folder with tiny checkpoints, and the shortest evaluation of one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.subject.checkpoints import weights_hash
from dipo_eval.subject.marker import MARKER, write_json
from dipo_eval.watch.best import BestRule
from dipo_eval.watch.loop import WatchOptions
from dipo_eval.watch.plan import EvalOptions, make_plan

SUITE = "arithmetic-control"
OPTIONS = EvalOptions(engine="hf", limit=2, max_new_tokens=4)


@pytest.fixture(scope="module")
def exports(models: Path) -> list[Path]:
    """Two folders of weights (the fixture `models` of tests/eval)."""
    return sorted(models.glob("global_step*_hf"))


@pytest.fixture
def ckpt(tmp_path: Path) -> Path:
    (tmp_path / "ckpt").mkdir()
    return tmp_path / "ckpt"


@pytest.fixture
def add_checkpoint(ckpt: Path, exports: list[Path]) -> Callable[..., Path]:
    """Add a whole, marked checkpoint; `weights` 0 or 1 chooses which; broken: no weights that load."""

    def add(step: int, weights: int = 0, *, broken: bool = False) -> Path:
        folder = ckpt / f"global_step{step}_hf"
        shutil.copytree(exports[weights], folder)
        if broken:
            (folder / "model.safetensors").write_bytes(b"no weights")
        facts = {"step": step, "weights_hash": weights_hash(folder), "save_steps": 1}
        write_json(folder / MARKER, facts)
        return folder

    return add


@pytest.fixture
def options(ckpt: Path, tmp_path: Path) -> Callable[..., WatchOptions]:
    def make(**more: Any) -> WatchOptions:
        plan = make_plan([SUITE], tmp_path / "results", "r", OPTIONS)
        given = {"once": True, "poll": 0.05, "stale_after": 5.0, "deadline": 120.0, **more}
        return WatchOptions(ckpt, plan, BestRule(SUITE), **given)

    return make


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    yield
    if before is None:
        del os.environ["OMP_NUM_THREADS"]
    else:
        os.environ["OMP_NUM_THREADS"] = before
