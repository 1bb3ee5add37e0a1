"""What a watcher does: from the options of `dipo watch` and a recipe's values."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.results.store import safe_name
from dipo_eval.subject.checkpoints import default_run
from dipo_eval.watch.backlog import ORDERS
from dipo_eval.watch.best import BestRule
from dipo_eval.watch.loop import WatchOptions
from dipo_eval.watch.plan import EvalOptions, make_plan
from dipo_eval.watch.tracking import Trackers

ReadRecipe = Callable[[str], dict[str, Any]]
"""A recipe's path -> values of the options."""


def watch_options(target: str, given: dict[str, Any], read_recipe: ReadRecipe | None = None) -> WatchOptions:
    """From the command line's options, then the recipe, then the defaults. Raises UserError."""
    folder = Path(target).expanduser()
    values: dict[str, Any] = {}
    if not folder.is_dir():
        values |= _from_recipe(target, read_recipe)
        folder = Path(values["ckpt_path"])
        folder.mkdir(parents=True, exist_ok=True)
    elif (folder / "config.json").is_file():
        raise UserError(
            f"{target}: is one model, to which no checkpoints are added: evaluate it with dipo eval {target} --suites ..."
        )
    elif not any(folder.glob("global_step*_hf")) and (folder / "ckpt").is_dir():
        values["run"] = safe_name(folder.resolve().name)
        folder = folder / "ckpt"
    values |= given
    if not values.get("suites"):
        raise UserError("no suite named; give --suites, for example --suites gsm8k,math500")
    if values.get("order", ORDERS[0]) not in ORDERS:
        raise UserError(f"--order {values['order']!r}: choose one of {', '.join(ORDERS)}")
    run = values.get("run") or default_run(str(folder))
    names = [name.strip() for name in str(values["suites"]).split(",") if name.strip()]
    results = Path(values.get("results", "results")).resolve()
    data_dir = str(Path(values["data_dir"]).resolve()) if values.get("data_dir") else None
    evaluation = EvalOptions(**_fields_of(EvalOptions, values | {"data_dir": data_dir}))
    plan = make_plan(names, results, run, evaluation)
    own = {
        "ckpt_path": folder.resolve(),
        "plan": plan,
        "best": _best_rule(values.get("best"), list(plan.suites)),
        "start_model": values.get("start_model") or None,
        "trackers": _trackers(values, results, run),
    }
    return WatchOptions(**_fields_of(WatchOptions, values | own))


def _fields_of(kind: Any, values: dict[str, Any]) -> dict[str, Any]:
    return {field.name: values[field.name] for field in fields(kind) if field.name in values}


def _from_recipe(target: str, read_recipe: ReadRecipe | None) -> dict[str, Any]:
    if read_recipe is None or not Path(target).suffix.startswith(".y"):
        raise UserError(
            f"{target}: no such folder; name a training's checkpoint folder, run folder or recipe"
        )
    return read_recipe(target)


def _best_rule(text: str | None, suites: list[str]) -> BestRule:
    suite, _, metric = (text or suites[0]).partition(":")
    if suite not in suites:
        raise UserError(f"--best {text!r}: is none of the suites {', '.join(suites)}")
    return BestRule(suite, metric or "accuracy")


def _trackers(values: dict[str, Any], results: Path, run: str) -> Trackers:
    for key in ("wandb_id", "wandb_group", "wandb_entity"):
        if values.get(key) and not values.get("wandb"):
            raise UserError(f"--{key.replace('_', '-')} needs --wandb PROJECT")
    return Trackers(
        wandb_project=values.get("wandb") or "",
        # An id of its own, the same after a restart, so that the watcher continues its run.
        wandb_id=values.get("wandb_id") or hashlib.sha256(str(results / run).encode()).hexdigest()[:12],
        wandb_name=f"{run}-eval",
        wandb_group=values.get("wandb_group") or run,
        wandb_entity=values.get("wandb_entity") or "",
        wandb_dir=str(results),
        tensorboard=str(Path(values["tensorboard"]).resolve()) if values.get("tensorboard") else "",
    )
