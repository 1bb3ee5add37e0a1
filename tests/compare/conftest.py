"""A task whose model is pretrained in seconds: in a file of its own beside the real ones."""

from __future__ import annotations

import pytest

from dipo_openrlhf.compare import tasks

SMALL = """
from dataclasses import replace

from dipo_openrlhf.compare.tasks.digits import Skill, digits_task

_TASK = digits_task("small", "Does anything run?", {"Keep": Skill(0.3, "bare", "varied"), "Turn": Skill(0.7, "bare")})
_SETTINGS = replace(_TASK.lesson.settings, hidden_size=32, heads=1, key_value_heads=1, mlp_size=64, demonstrations=12_800)
TASK = replace(_TASK, lesson=replace(_TASK.lesson, settings=_SETTINGS))
"""


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Where its model is kept."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def small_task(cache, tmp_path_factory):
    """Its name; it is known as long as the tests of the module run."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "small.py").write_text(SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "__path__", [*tasks.__path__, str(folder)])
        patch.setenv("DIPO_CACHE_DIR", str(cache))
        yield "small"
