"""Objects found in the modules of a package, such as suites and data sets, and near matches for mistyped names."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from dipo_eval.errors import UserError


def defined_in(package: ModuleType, attribute: str) -> dict[str, Any]:
    """The objects called `attribute` (one, or a tuple) of the package's modules, by their `name`, sorted.

    Raises ValueError where two modules claim one name.
    """
    found: dict[str, Any] = {}
    for module in pkgutil.iter_modules(package.__path__):
        one = getattr(importlib.import_module(f"{package.__name__}.{module.name}"), attribute, None)
        for each in one if isinstance(one, tuple) else () if one is None else (one,):
            if each.name in found:
                raise ValueError(f"two modules define {each.name!r}; rename the one in {module.name}.py")
            found[each.name] = each
    return dict(sorted(found.items()))


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name most similar to a mistyped one, or None. `cutoff`: similarity in [0, 1]."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)), None)


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for an unknown name, with the nearest known one."""
    names = list(known)
    near = nearest(name, names)
    hint = f"did you mean {near!r}?" if near else f"choose from {', '.join(names)}"
    return UserError(f"unknown {kind} {name!r}: {hint}")
