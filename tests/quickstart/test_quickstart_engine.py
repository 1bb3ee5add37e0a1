"""The evaluation's engine is imported once this run's last step is trained, where nothing is started after that."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dipo_openrlhf.quickstart import run
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.recipe import Recipe
from dipo_openrlhf.recipe.yaml_lines import Setting
from dipo_openrlhf.record.events import EVENTS, SAVING, TRAINING

Begun = Callable[[], bool]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Begun]:
    """What would be asked whether the import is to begin, of every import."""
    found: list[Begun] = []

    def imported_meanwhile(model: Path, begun: Begun) -> contextlib.AbstractContextManager[None]:
        found.append(begun)
        return contextlib.nullcontext()

    monkeypatch.setattr(run, "imported_meanwhile", imported_meanwhile)
    return found


def recipe_of(folder: Path, **changed: object) -> Recipe:
    values: dict[str, object] = {
        "run.dir": str(folder),
        "actor.model_name_or_path": str(folder),
        "data.prompt_dataset": str(folder / "prompts.jsonl"),
        **changed,
    }
    return load_recipe("quickstart", {key: Setting(value, "test") for key, value in values.items()})


def test_it_begins_after_the_last_step_of_this_run(asked: list[Begun], tmp_path: Path) -> None:
    events = tmp_path / EVENTS
    earlier = {"time": time.time() - 60, "stage": SAVING}
    events.write_text(json.dumps(earlier) + "\n")  # of the run that is resumed
    run.engine_imported(recipe_of(tmp_path), tmp_path)
    (begun,) = asked
    assert not begun()
    rows = [{"time": time.time() + 1, "stage": stage} for stage in (TRAINING, SAVING)]
    events.write_text(json.dumps(rows[0]) + "\n")
    assert not begun()
    events.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert begun()


@pytest.mark.parametrize(
    "changed", [{"watch.when": "during"}, {"evaluate.engine": "hf"}, {"run.max_restarts": 1}]
)
def test_nothing_is_imported_where_another_evaluates_or_a_driver_may_be_started_again(
    asked: list[Begun], tmp_path: Path, changed: dict[str, object]
) -> None:
    run.engine_imported(recipe_of(tmp_path, **changed), tmp_path)
    assert asked == []
