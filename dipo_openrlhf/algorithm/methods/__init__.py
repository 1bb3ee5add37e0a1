"""The methods DiPO is compared with, found by discovery: adding one file here adds one method.

A file `NAME.py` defines `BASELINE`, a `dipo_openrlhf.algorithm.method.Baseline` whose name is NAME.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dipo_openrlhf.algorithm.method import Baseline


def names() -> tuple[str, ...]:
    """Names of all methods, sorted. Lists files and imports none of them."""
    found = (info.name for info in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in found if not name.startswith("_")))


def get(name: str) -> Baseline:
    """The baseline called `name`. Raises ValueError naming the nearest known one."""
    known = names()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"baseline {name!r}: no such method; {hint}known: {', '.join(known)}")
    baseline: Baseline = importlib.import_module(f"{__name__}.{name}").BASELINE
    return baseline
