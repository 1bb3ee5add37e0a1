"""Objects found in the modules of a package, such as suites and data sets, and near matches for mistyped names."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from dipo_eval.errors import UserError, one_line


def defined_in(package: ModuleType, attribute: str, broken: dict[str, str] | None = None) -> dict[str, Any]:
    """The objects called `attribute` (one, or a tuple) of the package's modules, by their `name`, sorted.

    broken: gets the modules that cannot be imported, with the reason; None: what they raise is raised. Raises ValueError
    where two modules claim one name.
    """
    found: dict[str, Any] = {}
    for module in pkgutil.iter_modules(package.__path__):
        try:
            imported = importlib.import_module(f"{package.__name__}.{module.name}")
        except Exception as error:  # a module may fail in any way
            if broken is None:
                raise
            broken[f"{module.name}.py"] = f"cannot be imported ({one_line(error)})"
            continue
        one = getattr(imported, attribute, None)
        for each in one if isinstance(one, tuple) else () if one is None else (one,):
            if each.name in found:
                raise ValueError(f"two modules define {each.name!r}; rename the one in {module.name}.py")
            found[each.name] = each
    return dict(sorted(found.items()))


def named_in(package: ModuleType, attribute: str, kind: str, name: str) -> Any:
    """The one of them that is called `name`. Raises UserError with the nearest known one; `kind` is what they are."""
    known = defined_in(package, attribute)
    if name not in known:
        raise unknown(kind, name, known)
    return known[name]


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name most similar to a mistyped one, or None. `cutoff`: similarity in [0, 1]."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)), None)


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for an unknown name, with the nearest known one."""
    names = list(known)
    near = nearest(name, names)
    hint = f"did you mean {near!r}?" if near else f"choose from {', '.join(names)}"
    return UserError(f"unknown {kind} {name!r}: {hint}")
