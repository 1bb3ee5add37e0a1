"""The targets of `dipo submit --to`, found by being there: adding NAME.py adds one.

NAME.py defines `LAUNCHER`, a `dipo_openrlhf.launchers.launcher.Launcher`.
"""

from __future__ import annotations

import contextlib
import importlib
import pkgutil

from dipo_eval.discovery import nearest
from dipo_eval.errors import UserError, one_line
from dipo_openrlhf.launchers.launcher import Launcher


def names() -> list[str]:
    """All targets, sorted. Lists files and imports none of them."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in found if not name.startswith("_"))


def find(name: str) -> Launcher:
    """The launcher called `name`. Raises UserError with the nearest known one, or for a file that defines none."""
    if name not in names():
        near = nearest(name, names())
        hint = f"did you mean {near}? " if near else ""
        raise UserError(f"--to {name!r}: {hint}one of {', '.join(names())}")
    try:
        launcher: Launcher = importlib.import_module(f"{__name__}.{name}").LAUNCHER
    except Exception as error:  # of a user's own file
        raise UserError(f"{__path__[0]}/{name}.py: is no launcher: {one_line(error)}") from error
    return launcher


def usable() -> list[str]:
    """Those whose files define a launcher."""
    found = []
    for name in names():
        with contextlib.suppress(UserError):
            find(name)
            found.append(name)
    return found
