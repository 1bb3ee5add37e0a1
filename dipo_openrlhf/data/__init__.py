"""Training prompts. A new module here that defines DATASET is a new data set; nothing else is edited."""

from __future__ import annotations

import difflib
import importlib
import pkgutil

from dipo_eval.errors import UserError
from dipo_openrlhf.data.base import Dataset, Prompt


def all_datasets() -> dict[str, Dataset]:
    """Every data set by name, sorted. Raises ValueError where two modules claim one name."""
    found: dict[str, Dataset] = {}
    for module in pkgutil.iter_modules(__path__):
        dataset = getattr(importlib.import_module(f"{__name__}.{module.name}"), "DATASET", None)
        if dataset is None:
            continue
        if dataset.name in found:
            raise ValueError(f"two data sets are named {dataset.name!r}; rename the one in {module.name}.py")
        found[dataset.name] = dataset
    return dict(sorted(found.items()))


def get_dataset(name: str) -> Dataset:
    """The data set of that name. Raises UserError for an unknown one, with the nearest."""
    known = all_datasets()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}"
    raise UserError(f"unknown data set {name!r}: {hint}")


__all__ = ["Dataset", "Prompt", "all_datasets", "get_dataset"]
