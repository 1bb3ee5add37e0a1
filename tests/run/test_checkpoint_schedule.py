"""With the settings that are shipped, every checkpoint is evaluated, and the final model is one of them.

The run's plan, the markers, the rotation and the watcher's choice are the real ones; saves and evaluations are folders.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dipo_eval.subject.marker import BEST, EVALUATED, complete_checkpoints, export_folder, saves_to_evaluate
from dipo_openrlhf.openrlhf_patch.settings import TrainerSettings
from dipo_openrlhf.recipe.files import recipe_names
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.record import checkpoints
from dipo_openrlhf.run.plan import plan_run

PROMPTS = {"math": 17_398, "tools": 4_000}


def prune(ckpt_path: Path, settings: TrainerSettings) -> None:
    checkpoints.prune(
        ckpt_path,
        settings.keep_checkpoints,
        keep_exports=settings.keep_exports,
        evaluate_every=settings.evaluate_every,
    )


@pytest.mark.parametrize(
    "name",
    [
        f"{recipe}{variant}"
        for recipe in recipe_names()
        if not recipe.startswith("quickstart") and "lora" not in recipe
        for variant in ("", "+4x8", "+dapo")
    ]
    + ["math_qwen3_8b+async"],
)
def test_every_checkpoint_of_a_shipped_recipe_is_evaluated(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    settings = TrainerSettings(**plan_run(recipe).settings)
    prompts = PROMPTS[name.partition("_")[0]]
    steps = -(-prompts // recipe.get("rollout.batch_size")) * recipe.get("train.num_episodes")
    saved = checkpoints.saved_steps(steps, recipe.get("ckpt.save_steps"))
    assert saved[-1] == steps  # the final model is a checkpoint
    for step in saved:
        for folder in (checkpoints.state_folder(tmp_path, step), export_folder(tmp_path, step)):
            folder.mkdir(parents=True)
        (tmp_path / "_actor" / "latest").write_text(f"global_step{step}")
        facts = {"weights_hash": f"h{step}", "save_steps": recipe.get("ckpt.save_steps")}
        checkpoints.mark_complete(tmp_path, step, facts)
        prune(tmp_path, settings)
    found = complete_checkpoints(tmp_path)
    assert [one.step for one in found] == saved  # none is pruned before its turn
    todo = saves_to_evaluate(found, every=recipe.watch.every, last_too=True)
    assert todo == found
    for one in todo:
        (one.hf_path / EVALUATED).write_text("{}")
    (todo[0].hf_path / BEST).write_text("{}")
    prune(tmp_path, settings)
    kept = {saved[0], *saved[-recipe.get("ckpt.max_num") :]}
    assert {one.step for one in complete_checkpoints(tmp_path)} == kept


def test_without_a_watcher_nothing_waits_for_an_evaluation() -> None:
    recipe = load_recipe("math_qwen3_4b")
    alone = replace(recipe, watch=recipe.watch.model_copy(update={"enabled": False}))
    assert plan_run(alone).settings["evaluate_every"] == 0


@pytest.mark.parametrize(
    ("steps", "every", "expected"), [(4, 2, [2, 4]), (5, 2, [2, 4, 5]), (1, 20, [1]), (0, 5, [])]
)
def test_the_last_step_is_saved_whatever_its_number(steps: int, every: int, expected: list[int]) -> None:
    assert checkpoints.saved_steps(steps, every) == expected
