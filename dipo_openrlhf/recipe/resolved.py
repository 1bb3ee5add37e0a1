"""Every setting of a recipe as it holds, with where it comes from: `dipo train --dry-run`, `dipo recipes --show`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dipo_openrlhf.recipe.recipe import Recipe
from dipo_openrlhf.recipe.schema import SECTIONS


def resolved_lines(recipe: Recipe, *, openrlhf: bool = False) -> list[str]:
    """`key: value    where it is written` for the keys of dipo, run, evaluate and watch; defaults are marked.

    openrlhf: also every OpenRLHF argument that is not at OpenRLHF's default.
    """
    values: dict[str, Any] = {f"dipo.{key}": value for key, value in asdict(recipe.dipo).items()}
    for name in SECTIONS:
        section = getattr(recipe, name).model_dump()
        values |= {f"{name}.{key}": value for key, value in section.items()}
    if openrlhf:
        values |= dict(sorted(recipe.openrlhf.items()))
    width = max(len(f"{key}: {_text(value)}") for key, value in values.items() if len(_text(value)) < 40)
    return [
        f"{f'{key}: {_text(value)}':<{width}}  {recipe.where.get(key, 'default')}"
        for key, value in values.items()
    ]


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return repr(value) if isinstance(value, str) and (not value or " " in value) else str(value)
