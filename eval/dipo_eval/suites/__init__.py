"""The benchmarks. A new module here that defines SUITE is a new benchmark; nothing else is edited."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Sequence

from dipo_eval.errors import UserError
from dipo_eval.suites.base import Item, Suite


def all_suites() -> dict[str, Suite]:
    """Every suite by name, sorted. Raises ValueError where two modules claim one name."""
    suites: dict[str, Suite] = {}
    for module_info in pkgutil.iter_modules(__path__):
        suite = getattr(importlib.import_module(f"{__name__}.{module_info.name}"), "SUITE", None)
        if suite is None:
            continue
        if suite.name in suites:
            raise ValueError(f"two suites are named {suite.name!r}; rename the one in {module_info.name}.py")
        suites[suite.name] = suite
    return dict(sorted(suites.items()))


def get_suites(names: Sequence[str]) -> list[Suite]:
    """Suites in the order named. UserError for none, an unknown one (with the nearest) or one named twice."""
    known = all_suites()
    if not names:
        raise UserError(f"no suite named; choose from {', '.join(known)}")
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}"
            raise UserError(f"unknown suite {name!r}: {hint}")
        if list(names).count(name) > 1:
            raise UserError(f"suite {name!r} is named twice; name it once")
    return [known[name] for name in names]


__all__ = ["Item", "Suite", "all_suites", "get_suites"]
