"""A small model, and a folder for each case."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from dipo_openrlhf.rehearse import tasks
from dipo_openrlhf.rehearse.model import make_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mistakes") / "model"
    make_model(folder, "Qwen/Qwen3-4B-Base", tasks.problems("math", 8))
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPO_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache"))
