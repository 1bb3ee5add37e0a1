"""Model folders that are built once and kept: pretrained and converted ones."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def built_once(folder: Path, done: str, build: Callable[[Path], dict[str, Any]]) -> Path:
    """`folder`, found or filled by `build`, whose facts are written to the file `done` in it, last.

    The folder appears under its name only when it is complete: an interrupted build leaves nothing that is used later.
    """
    if (folder / done).is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder.parent))
    try:
        facts = build(unfinished)
        (unfinished / done).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        unfinished.chmod(0o755)  # mkdtemp's folders are private
        if not (folder / done).is_file():
            shutil.rmtree(folder, ignore_errors=True)
            try:
                unfinished.rename(folder)
            except OSError:
                if not (folder / done).is_file():  # else another process finished first
                    raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder
