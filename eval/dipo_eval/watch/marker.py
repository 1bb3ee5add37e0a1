"""The files by which a training and its watchers know of each other; all are written whole, by rename.

<ckpt>/global_step7_hf/COMPLETE.json    by the trainer, last: weights and optimizer state are on disk
<ckpt>/global_step7_hf/EVALUATING.0     by a watcher: a lease (lease.py)
<ckpt>/global_step7_hf/EVALUATED.json   by a watcher: evaluated, or given up after the last attempt
<ckpt>/global_step7_hf/BEST.json        by a watcher: the best so far, by half of the items; never pruned
<ckpt>/ENDED.json                       by the trainer: no further checkpoint comes, and why
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipo_eval.files.atomic import write_atomic
from dipo_eval.files.bounded_file import MAX_MARKER, read_limited
from dipo_eval.results.stored_checks import parse_json

MARKER = "COMPLETE.json"
LEASE = "EVALUATING"
EVALUATED = "EVALUATED.json"
BEST = "BEST.json"
ENDED = "ENDED.json"
_EXPORT = re.compile(r"global_step(\d+)_hf")


@dataclass(frozen=True)
class Marked:
    """One whole checkpoint of a run: its step, its Hugging Face export, and what its marker says."""

    step: int
    hf_path: Path
    marker: dict[str, Any]

    @property
    def name(self) -> str:
        """Its name in the results: that of dipo_eval.subject.checkpoints."""
        return self.hf_path.name.removesuffix("_hf")

    @property
    def weights_hash(self) -> str:
        """The hash that the trainer took when it had written the weights; "" in a marker without one."""
        return str(self.marker.get("weights_hash", ""))


def found_finite(folder: Path) -> str | None:
    """Hash of the weights that the trainer found finite before it marked this export, None where no marker says so."""
    marker = read_json(folder / MARKER) or {}
    return str(marker.get("weights_hash")) if marker.get("weights_finite") is True else None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """A small JSON file, whole or not at all. Raises OSError."""
    write_atomic(path, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where there is none that can be read."""
    try:
        content = parse_json(read_limited(path, MAX_MARKER))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def whole_checkpoints(ckpt_path: Path) -> list[Marked]:
    """Checkpoints with a completion marker, oldest step first."""
    found = []
    for marker in ckpt_path.glob(f"global_step*_hf/{MARKER}"):
        match = _EXPORT.fullmatch(marker.parent.name)
        content = read_json(marker)
        if match and content is not None:
            found.append(Marked(int(match.group(1)), marker.parent, content))
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def training_started(ckpt_path: Path) -> None:
    """Withdraw the end of an earlier attempt: checkpoints are coming."""
    with contextlib.suppress(FileNotFoundError):
        (ckpt_path / ENDED).unlink()


def training_ended(ckpt_path: Path, outcome: str) -> None:
    """Say that no checkpoint will follow. `outcome`: done, failed or interrupted; the first word stands.

    Never raises: on a full disk, which may be what ended the training, an empty file says so where one can be made.
    """
    path = ckpt_path / ENDED
    if not ckpt_path.is_dir() or path.exists():
        return
    try:
        write_json(path, {"outcome": outcome})
    except OSError:
        with contextlib.suppress(OSError):
            path.touch()


def how_it_ended(ckpt_path: Path) -> str | None:
    """The outcome of a training that has ended, None while it may go on."""
    content = read_json(ckpt_path / ENDED)
    if content is None:
        return "failed" if (ckpt_path / ENDED).exists() else None
    return str(content.get("outcome", "ended"))
