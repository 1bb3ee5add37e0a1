"""Training prompts. A new module here that defines DATASET is a new data set; nothing else is edited."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from dipo_eval.discovery import defined_in, unknown

if TYPE_CHECKING:
    from dipo_openrlhf.data.base import Dataset


def all_datasets() -> dict[str, Dataset]:
    """Every data set by name, sorted. Raises ValueError where two modules claim one name."""
    return defined_in(sys.modules[__name__], "DATASET")


def get_dataset(name: str) -> Dataset:
    """The data set of that name. Raises UserError for an unknown one, with the nearest."""
    known = all_datasets()
    if name not in known:
        raise unknown("data set", name, known)
    return known[name]
