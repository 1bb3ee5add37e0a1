"""Every setting of a recipe as it holds, with where it comes from: `dipo train --dry-run`, `dipo recipes --show`."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

from dipo_openrlhf.algorithm import methods
from dipo_openrlhf.recipe.recipe import Recipe
from dipo_openrlhf.recipe.schema import SECTIONS


def resolved_lines(recipe: Recipe, *, openrlhf: bool = False) -> list[str]:
    """`key: value    where it is written` for the keys of dipo, run, evaluate and watch; defaults are marked.

    openrlhf: also every OpenRLHF argument that is not at OpenRLHF's default.
    """
    written = {f"dipo.{key}": value for key, value in asdict(recipe.dipo).items()}
    for name in SECTIONS:
        section = getattr(recipe, name).model_dump()
        written |= {f"{name}.{key}": value for key, value in section.items()}
    values = {**written, **_holding(recipe)}
    if openrlhf:
        values |= dict(sorted(recipe.openrlhf.items()))
    width = max(len(f"{key}: {_text(value)}") for key, value in values.items() if len(_text(value)) < 40)
    return [
        f"{f'{key}: {_text(value)}':<{width}}  {_place(recipe, key, written.get(key, value), value)}"
        for key, value in values.items()
    ]


def _holding(recipe: Recipe) -> dict[str, Any]:
    """What stands for an empty value, for auto, and for a switch that the method does not have."""
    run, dipo = recipe.run, recipe.dipo.for_method(methods.get(recipe.dipo.method))
    return {
        "dipo.alpha": dipo.alpha,
        "dipo.estimator": dipo.estimator,
        "run.name": recipe.name,
        "run.dir": str(recipe.run_dir),
        "run.device": "cpu" if recipe.on_cpu else "gpu",
        **{f"run.{name}": value for name, value in recipe.engine_batch.items()},
        "run.keep_exports": recipe.get("ckpt.max_num") if run.keep_exports is None else run.keep_exports,
        "run.start_timeout": recipe.start_timeout,
        "run.save_before": recipe.save_before,
        "evaluate.data_dir": recipe.evaluate.data_dir or os.environ.get("DIPO_DATA_DIR", ""),
        "watch.enabled": recipe.starts_watcher,
    }


def _place(recipe: Recipe, key: str, written: Any, value: Any) -> str:
    place = recipe.where.get(key, "default")
    if written == value:
        return place
    if key.startswith("dipo."):
        return f"of dipo.method {recipe.dipo.method}"
    return place if key not in recipe.where else f"{place}: {_text(written)}"


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return repr(value) if isinstance(value, str) and (not value or " " in value) else str(value)
