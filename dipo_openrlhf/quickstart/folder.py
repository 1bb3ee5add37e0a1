"""Where a quickstart lives: never on top of an earlier one, nor of one that is started at the same moment."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

from dipo_eval.errors import UserError, short_repr
from dipo_eval.files.places import check_can_make_folder

ARITHMETIC, TOOLS, SMOLLM2 = "quickstart", "quickstart_tools", "quickstart_smollm2"
RECIPES = {("tiny", "arithmetic"): ARITHMETIC, ("tiny", "tools"): TOOLS, ("smollm2", "arithmetic"): SMOLLM2}
"""Recipe by --model and --task."""
LESSONS = {RECIPES["tiny", task]: task for of, task in RECIPES if of == "tiny"}
"""What the model that a recipe starts from is taught: the lesson of the task's name."""


def recipe_of(model: str, task: str) -> str:
    """The recipe of a choice. Raises UserError for an unknown model or task, and for a pair that there is not."""
    for option, given, known in (
        ("--model", model, dict.fromkeys(one for one, _ in RECIPES)),
        ("--task", task, dict.fromkeys(one for _, one in RECIPES)),
    ):
        if given not in known:
            raise UserError(f"{option} {short_repr(given)}: choose one of {', '.join(known)}")
    if (model, task) not in RECIPES:
        tasks = ", ".join(one for of, one in RECIPES if of == model)
        raise UserError(
            f"--task {task}: there is none for --model {model}; it has {tasks}, or leave --model out"
        )
    return RECIPES[model, task]


@contextlib.contextmanager
def run_folder(recipe: str = ARITHMETIC, run_dir: Path | None = None, resume: bool = False) -> Iterator[Path]:
    """The run's folder: as given, else the first of runs/RECIPE, runs/RECIPE-2, ... that is not there, made.

    Making it is what takes it: two that are started at once get one each. It is removed again if it is left empty. With
    `resume` the newest of those that hold a run. Raises UserError for one that holds something else, or cannot be made.
    """
    if run_dir is not None:
        check_can_make_folder(run_dir, "--run-dir")
        _check_free(run_dir.resolve(), resume)
        yield run_dir.resolve()
        return
    used = (
        [folder for folder in takewhile(os.path.lexists, _folders(recipe)) if _in_use(folder)]
        if resume
        else []
    )
    if used:
        yield used[-1]
        return
    folder = _make_first(recipe)
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _folders(recipe: str) -> Iterator[Path]:
    first = Path("runs", recipe).resolve()
    return itertools.chain([first], (first.with_name(f"{first.name}-{n}") for n in itertools.count(2)))


def _make_first(recipe: str) -> Path:
    for folder in _folders(recipe):
        check_can_make_folder(folder.parent, "the folder of runs")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError("there is always one more name")


def _in_use(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _check_free(folder: Path, resume: bool) -> None:
    if resume or not _in_use(folder):
        return
    if (folder / "prompts.jsonl").is_file():
        raise UserError(
            f"{folder}: holds an earlier quickstart: continue it with --resume, or name another folder"
        )
    raise UserError(f"{folder}: is not empty and not of a quickstart: choose another with --run-dir")
