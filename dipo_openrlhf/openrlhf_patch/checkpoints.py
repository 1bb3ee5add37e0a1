"""Completion markers, the newest whole checkpoint, and rotation.

OpenRLHF prunes BEFORE it saves and evicts by metric (deepspeed.py:651): saving step 10 can delete step 9, the one
that `latest` names, and a crash in between leaves nothing to resume from. Here the order is save, verify, mark,
then prune, and what `latest` names is never pruned.

    <ckpt>/_actor/global_step7/      DeepSpeed: weights, optimizer, scheduler, client state (with DiPO's queue)
    <ckpt>/_actor/latest             the tag that a resume loads
    <ckpt>/global_step7_hf/          Hugging Face export, what evaluation loads
    <ckpt>/global_step7_hf/COMPLETE.json   written last: both folders are whole
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipo_eval.results import write_atomic

MARKER = "COMPLETE.json"
LEASE = "EVALUATING"
_TAG = re.compile(r"global_step(\d+)$")


@dataclass(frozen=True)
class Checkpoint:
    """One whole checkpoint of a run."""

    step: int
    hf_path: Path
    marker: dict[str, Any]


def tag_of(step: int) -> str:
    """OpenRLHF's name of a step's checkpoint (ppo_trainer.py:439)."""
    return f"global_step{step}"


def mark_complete(ckpt_path: Path, step: int, facts: dict[str, Any]) -> Path:
    """Write the completion marker of a step whose files are all on disk."""
    marker = ckpt_path / f"{tag_of(step)}_hf" / MARKER
    write_atomic(marker, (json.dumps({"step": step, **facts}, indent=2, sort_keys=True) + "\n").encode())
    return marker


def whole_checkpoints(ckpt_path: Path) -> list[Checkpoint]:
    """Checkpoints with a completion marker, oldest step first."""
    found = []
    for marker in ckpt_path.glob(f"global_step*_hf/{MARKER}"):
        match = _TAG.match(marker.parent.name.removesuffix("_hf"))
        if match is None:
            continue
        try:
            content = json.loads(marker.read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            continue
        found.append(Checkpoint(int(match.group(1)), marker.parent, content))
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def resumable_steps(ckpt_path: Path) -> list[int]:
    """Steps that have both a marker and DeepSpeed's folder, oldest first."""
    return [
        checkpoint.step
        for checkpoint in whole_checkpoints(ckpt_path)
        if (ckpt_path / "_actor" / tag_of(checkpoint.step)).is_dir()
    ]


def point_latest_at_newest_whole(ckpt_path: Path) -> int | None:
    """Make `latest` name the newest whole checkpoint; folders of later, unfinished steps are removed.

    Removed first: on a disk that a half-written checkpoint filled, not even `latest` could be written. Returns
    the step, or None when there is nothing to resume from.
    """
    steps = resumable_steps(ckpt_path)
    if not steps:
        return None
    newest = steps[-1]
    for folder in [*(ckpt_path / "_actor").iterdir(), *ckpt_path.glob("global_step*_hf")]:
        match = _TAG.match(folder.name.removesuffix("_hf"))
        if folder.is_dir() and match and int(match.group(1)) > newest:
            shutil.rmtree(folder)
    latest = ckpt_path / "_actor" / "latest"
    if not latest.exists() or latest.read_text(encoding="utf-8").strip() != tag_of(newest):
        write_atomic(latest, tag_of(newest).encode())
    return newest


def prune(ckpt_path: Path, keep: int, protected: Iterable[int] = ()) -> list[int]:
    """Delete whole checkpoints beyond the newest `keep`; returns the pruned steps.

    Never deleted: the one `latest` names, a protected step, one that is being evaluated (it carries a lease).
    `keep` <= 0 keeps everything.
    """
    if keep <= 0:
        return []
    steps = [checkpoint.step for checkpoint in whole_checkpoints(ckpt_path)]
    latest_file = ckpt_path / "_actor" / "latest"
    latest = latest_file.read_text(encoding="utf-8").strip() if latest_file.exists() else ""
    pruned = []
    for step in steps[:-keep]:
        folder = ckpt_path / f"{tag_of(step)}_hf"
        if tag_of(step) == latest or step in set(protected) or (folder / LEASE).exists():
            continue
        # The marker first: a half-deleted folder must not look whole.
        (folder / MARKER).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(ckpt_path / "_actor" / tag_of(step), ignore_errors=True)
        pruned.append(step)
    return pruned
