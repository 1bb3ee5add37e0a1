"""Write a rehearsal: a file that extends the recipe by the shrink rule, with a model, prompts and a suite beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from dipo_eval.errors import UserError
from dipo_eval.files.atomic import write_atomic
from dipo_eval.printable import visible
from dipo_openrlhf.recipe.files import BUILT_IN, display_name, find_recipe
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.recipe import Recipe
from dipo_openrlhf.recipe.rehearsal import PROMPTS, check_rehearsal, rehearsal
from dipo_openrlhf.recipe.yaml_lines import Setting
from dipo_openrlhf.record.checkpoints import resumable_steps
from dipo_openrlhf.rehearse import tasks

FILE = "rehearsal.yaml"
BATCHES = 4  # of prompts: with two episodes eight steps


def prepare(name: str, overrides: dict[str, Setting], folder: Path) -> Path:
    """Fill `folder` and return the recipe file in it, ready for `dipo train` and `dipo submit`.

    Raises UserError for a mistake in the recipe, and where a rehearsal would not run it as it is (check_rehearsal).
    """
    folder = folder.resolve()
    path = folder / FILE
    if path.exists():
        begun = resumable_steps(Path(rehearsed(path).get("ckpt.path")))
        how = f"continue with dipo train {path} --resume" if begun else f"run it with dipo train {path}"
        raise UserError(f"{path}: is there already: {how}, or name another --folder")
    for made in (folder / "model", folder / "prompts.jsonl", folder / tasks.SUITE):
        if made.exists():
            raise UserError(
                f"{made}: is there already, and would be replaced: name another --folder, or remove it if it is of a "
                "rehearsal that was interrupted"
            )
    recipe = load_recipe(name, {**overrides, "run.device": Setting("gpu", "dipo rehearse")})
    kind = tasks.kind_of(recipe)
    problems = tasks.problems(kind, BATCHES * PROMPTS)
    own = {
        "run.name": f"rehearsal-{display_name(name)}",
        "run.dir": str(folder / "run"),
        "actor.model_name_or_path": str(folder / "model"),
        "data.prompt_dataset": str(folder / "prompts.jsonl"),
        "evaluate.suites": [str(folder / tasks.SUITE)] if recipe.evaluate.suites else [],
    }
    given = {key: setting.value for key, setting in overrides.items()}
    values = {**given, **rehearsal(recipe), **own}
    # Before anything is written: what a refused rehearsal left would stand in the way of the next.
    check_rehearsal(recipe, load_recipe(name, {key: Setting(value, FILE) for key, value in values.items()}))
    from dipo_openrlhf.rehearse.model import make_model  # torch and transformers, which take seconds

    folder.mkdir(parents=True, exist_ok=True)
    make_model(folder / "model", recipe.get("actor.model_name_or_path"), problems)
    tasks.write_prompts(
        folder / "prompts.jsonl", problems, kind, recipe.get("data.input_key"), recipe.get("data.label_key")
    )
    if recipe.evaluate.suites:
        tasks.write_suite(folder, problems, kind)
    _write(path, name, values)
    return path


def _write(path: Path, name: str, values: dict[str, Any]) -> None:
    parents = [
        one.name.removesuffix(".yaml")
        if one.resolve().is_relative_to(BUILT_IN.resolve())
        else str(one.resolve())
        for one in find_recipe(name)
    ]
    text = f"# {visible(name)}, rehearsed: what is shrunk is in dipo_openrlhf/recipe/rehearsal.py.\n"
    text += yaml.safe_dump({"extends": parents, **values}, sort_keys=False)
    write_atomic(path, text.encode())


def rehearsed(path: Path) -> Recipe:
    """The recipe that `prepare` has written."""
    return load_recipe(str(path))
