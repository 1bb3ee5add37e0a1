"""This project's own results: a suite's folder, a checkpoint's, or a run's, of which the last checkpoint counts."""

from __future__ import annotations

from pathlib import Path

from dipo_eval.results.store import RESULTS, load_complete
from dipo_openrlhf.compare.finished.scores import Finished, Reader, averaged, score_in


def _folders(path: Path) -> list[Path]:
    """Folders of suites, all of one checkpoint: the one of the largest step."""
    for depth in ("", "*", "*/*", "results/*/*/*", "*/*/*"):
        files = sorted(path.glob(f"{depth}/{RESULTS}" if depth else RESULTS))
        if files:
            if depth in ("", "*"):
                return [file.parent for file in files]
            last = max(files, key=lambda file: (_step(file.parent.parent.name), file.parent.parent.name))
            return [file.parent for file in files if file.parent.parent == last.parent.parent]
    return []


def _step(name: str) -> int:
    digits = "".join(char for char in name if char.isdecimal())
    return int(digits) if digits else -1


def _read(path: Path) -> list[Finished]:
    found = []
    for folder in _folders(path):
        _, rows = load_complete(folder)
        samples = (
            (str(row["item_id"]), score_in(row["status"] == "correct", f"{folder}: status")) for row in rows
        )
        found.append(averaged(folder.name, samples, folder))
    return found


READER = Reader("dipo eval", lambda path: path.is_dir() and bool(_folders(path)), _read)
