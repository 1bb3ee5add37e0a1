"""What the watcher of a run is to evaluate: suites, their data and the sampling.

It would refuse them in its first second, which is seen only when the training has ended.
"""

from __future__ import annotations

from pathlib import Path

from dipo_eval.errors import UserError
from dipo_eval.suites import get_suites
from dipo_eval.suites.base import Suite
from dipo_eval.suites.data_file import find_file
from dipo_eval.suites.hub import unavailable
from dipo_openrlhf.recipe.recipe import Recipe


def check_suites(recipe: Recipe, here: bool = True) -> None:
    """Raise UserError for suites that the watcher could not evaluate. here: it runs where this is asked, or sees the same
    files and network.
    """
    if not recipe.starts_watcher:
        return
    evaluate = recipe.evaluate
    try:
        suites = get_suites(evaluate.suites)
    except UserError as error:
        raise _error(recipe, "evaluate.suites", str(error)) from None
    if evaluate.samples > 1 and evaluate.temperature == 0:
        said = f"{evaluate.samples}: at evaluate.temperature 0 all would be alike: set a temperature above 0"
        raise _error(recipe, "evaluate.samples", said)
    _check_best(recipe, suites)
    folder = Path(evaluate.data_dir).expanduser() if evaluate.data_dir else None
    if folder is not None and not folder.is_dir():
        raise _error(recipe, "evaluate.data_dir", f"{evaluate.data_dir!r}: no such folder")
    for suite in suites:
        if why := _missing(suite, folder, here):
            said = f"{suite.name}: {why}: name the folder of its data as evaluate.data_dir, or leave the suite out"
            raise _error(recipe, "evaluate.suites", said)


def _missing(suite: Suite, folder: Path | None, here: bool) -> str:
    """Why a suite has no items; empty where it has some, or where only the machine of the run can tell."""
    data = suite.data
    if data is None or find_file(folder, data.name):
        try:
            if here:
                suite.load(folder, None, 0)
        except UserError as error:
            return str(error)
        return ""
    if data.hub is None and folder is not None:
        return f"{folder} holds no {data.name}"
    if not here:
        return ""
    why = unavailable(data.hub) if data.hub else "it is not on the hub"
    return f"{data.name} is not here ({why})" if why else ""


def _check_best(recipe: Recipe, suites: list[Suite]) -> None:
    text, samples = recipe.watch.best, recipe.evaluate.samples
    name, _, metric = text.partition(":")
    if not text:
        return
    names = [suite.name for suite in suites]
    if name not in names:
        raise _error(recipe, "watch.best", f"{text!r}: is none of evaluate.suites, {', '.join(names)}")
    known = ["accuracy"]
    if samples > 1:
        known += [f"pass@{j}" for j in (*(2**i for i in range(1, 20) if 2**i < samples), samples)] + [
            f"maj@{samples}"
        ]
    if metric and metric not in known and not metric.startswith("accuracy/"):
        raise _error(recipe, "watch.best", f"{text!r}: the metrics of {name} are {', '.join(known)}")


def _error(recipe: Recipe, key: str, said: str) -> UserError:
    return UserError(f"{recipe.where.get(key, recipe.source)}: {key}: {said}")
