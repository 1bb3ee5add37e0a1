"""Two tiny checkpoints and a little data for the tests that evaluate something."""

from __future__ import annotations

import json
import os
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

# Loaded by path: the tests are no package, so that no installed `tests` can be taken for them.
save_tiny_model = runpy.run_path(str(Path(__file__).with_name("tiny_model.py")))["save_tiny_model"]


@pytest.fixture(autouse=True)
def _keep_environment() -> Iterator[None]:
    """Engines set variables of this process; other tests must not see them."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's checkpoint folder with two exports of different weights."""
    folder = tmp_path_factory.mktemp("run") / "ckpt"
    for step in (10, 2):
        save_tiny_model(folder / f"global_step{step}_hf", seed=step)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [{"id": f"q{i}", "question": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(5)]
    rows[3]["question"] = "Add these: " + "1 + " * 300 + "1"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "gsm8k_test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "data"
