"""The targets of `dipo submit --to`, found by being there: adding NAME.py adds one.

NAME.py defines `LAUNCHER`, a `dipo_openrlhf.launchers.launcher.Launcher`.
"""

from __future__ import annotations

import importlib
import pkgutil

from dipo_eval.discovery import nearest
from dipo_eval.errors import UserError
from dipo_openrlhf.launchers.launcher import Launcher


def names() -> list[str]:
    """All targets, sorted. Lists files and imports none of them."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find(name: str) -> Launcher:
    """The launcher called `name`. Raises UserError with the nearest known one."""
    if name not in names():
        near = nearest(name, names())
        hint = f"did you mean {near}? " if near else ""
        raise UserError(f"--to {name!r}: {hint}one of {', '.join(names())}")
    launcher: Launcher = importlib.import_module(f"{__name__}.{name}").LAUNCHER
    return launcher
