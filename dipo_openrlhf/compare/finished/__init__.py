"""Finished runs, of this project and of others: a module here that defines READER reads one format."""

from __future__ import annotations

import sys
from pathlib import Path

from dipo_eval.discovery import defined_in
from dipo_eval.errors import UserError
from dipo_openrlhf.compare.finished.scores import Finished, Reader


def read_finished(path: Path) -> dict[str, Finished]:
    """Suite -> scores of a finished run, whatever its format. Raises UserError with one line."""
    readers: dict[str, Reader] = defined_in(sys.modules[__name__], "READER")
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    found = next((reader for reader in readers.values() if reader.finds(path)), None)
    if found is None:
        raise UserError(f"{path}: holds no results of {', '.join(readers)}")
    return {one.suite: one for one in found.read(path)}


__all__ = ["Finished", "Reader", "read_finished"]
