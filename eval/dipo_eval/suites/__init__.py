"""The benchmarks. A new module here that defines SUITE (one, or a tuple) is a new benchmark; nothing else is edited.

A suite of a user's own is one file anywhere (user.py), named by its path.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dipo_eval.discovery import defined_in, unknown
from dipo_eval.errors import UserError
from dipo_eval.suites.base import Item, Suite
from dipo_eval.suites.user import is_suite_path, load_user_suite


def all_suites(broken: dict[str, str] | None = None) -> dict[str, Suite]:
    """Every suite by name, sorted. Raises ValueError where two modules claim one name.

    broken: gets the modules that cannot be imported, with the reason, in the place of an exception.
    """
    return defined_in(sys.modules[__name__], "SUITE", broken)


def get_suites(names: Sequence[str]) -> list[Suite]:
    """Suites in the order named; a name that ends in .yaml or .py is the file of a user's own suite.

    Raises UserError for none, an unknown one (with the nearest), or two of one name.
    """
    known = all_suites()
    if not names:
        raise UserError(f"no suite named; choose from {', '.join(known)}")
    found: dict[str, Suite] = {}
    for name in names:
        suite = load_user_suite(Path(name)) if is_suite_path(name) else known.get(name)
        if suite is None:
            raise unknown("suite", name, known)
        if is_suite_path(name) and suite.name in known:
            raise UserError(
                f"{name}: the name {suite.name!r} is taken by a suite of this package; choose another"
            )
        if suite.name in found:
            raise UserError(f"suite {suite.name!r} is named twice; name it once")
        found[suite.name] = suite
    return list(found.values())


__all__ = ["Item", "Suite", "all_suites", "get_suites"]
