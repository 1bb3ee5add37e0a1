"""own_tasks/small.py, known to the comparison as long as the tests of a module run."""

from __future__ import annotations

from pathlib import Path

import pytest

from dipo_openrlhf.compare import tasks


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Where its model is kept."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def small_task(cache):
    """Its name."""
    folder = Path(__file__).parent / "own_tasks"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "__path__", [*tasks.__path__, str(folder)])
        patch.setenv("DIPO_CACHE_DIR", str(cache))
        yield "small"
