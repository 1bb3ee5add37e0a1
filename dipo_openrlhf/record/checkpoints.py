"""Completion markers, the newest whole checkpoint, and rotation.

OpenRLHF prunes BEFORE it saves and evicts by metric (deepspeed.py:651): saving step 10 can delete step 9, the one
that `latest` names, and a crash in between leaves nothing to resume from. Here the order is save, verify, mark,
then prune, and what `latest` names is never pruned.

    <ckpt>/_actor/global_step7/      DeepSpeed: weights, optimizer, scheduler, client state (with DiPO's queue)
    <ckpt>/_actor/latest             the tag that a resume loads
    <ckpt>/global_step7_hf/          Hugging Face export, what evaluation loads
    <ckpt>/global_step7_hf/COMPLETE.json   written last: both folders are whole

The marker files and the lease that keeps a checkpoint while it is evaluated are those of dipo_eval.watch.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dipo_eval.files.atomic import write_atomic
from dipo_eval.files.lease import STALE_AFTER, LeaseObserver, acquire
from dipo_eval.watch.marker import BEST, EVALUATED, LEASE, MARKER, whole_checkpoints, write_json

_TAG = re.compile(r"global_step(\d+)$")


def tag_of(step: int) -> str:
    """OpenRLHF's name of a step's checkpoint (ppo_trainer.py:439)."""
    return f"global_step{step}"


def mark_complete(ckpt_path: Path, step: int, facts: dict[str, Any]) -> Path:
    """Write the completion marker of a step whose files are all on disk; marks of an earlier save of it go."""
    folder = ckpt_path / f"{tag_of(step)}_hf"
    for stale in (EVALUATED, BEST):
        (folder / stale).unlink(missing_ok=True)
    write_json(folder / MARKER, {"step": step, **facts})
    return folder / MARKER


def resumable_steps(ckpt_path: Path) -> list[int]:
    """Steps that have both a marker and DeepSpeed's folder, oldest first."""
    return [
        checkpoint.step
        for checkpoint in whole_checkpoints(ckpt_path)
        if (ckpt_path / "_actor" / tag_of(checkpoint.step)).is_dir()
    ]


def withdraw(ckpt_path: Path, step: int) -> None:
    """Take back a step that was saved and is not usable: no marker, and `latest` names the newest whole checkpoint, or is
    gone where there is none. The step's files stay, to be looked at, until a resume removes them.
    """
    (ckpt_path / f"{tag_of(step)}_hf" / MARKER).unlink(missing_ok=True)
    steps, latest = resumable_steps(ckpt_path), ckpt_path / "_actor" / "latest"
    if steps:
        write_atomic(latest, tag_of(steps[-1]).encode())
    else:
        latest.unlink(missing_ok=True)


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


def prune(
    ckpt_path: Path,
    keep: int,
    protected: Iterable[int] = (),
    *,
    keep_exports: int | None = None,
    observer: LeaseObserver | None = None,
) -> list[int]:
    """Delete checkpoints beyond the newest `keep`; returns the steps of which something was deleted.

    Never deleted: the one `latest` names, a protected step, the best by evaluation (BEST.json), one that is being
    evaluated. `keep` <= 0 keeps everything. `keep_exports`: so many Hugging Face exports stay, at least `keep`; None:
    `keep`, 0: all. `observer` of earlier calls tell a dead watcher's lease from a live one's.
    """
    if keep <= 0:
        return []
    steps = [checkpoint.step for checkpoint in whole_checkpoints(ckpt_path)]
    _remove_half_pruned(ckpt_path, steps)
    exports = {None: keep, 0: len(steps)}.get(keep_exports, max(keep, keep_exports or 0))
    latest_file = ckpt_path / "_actor" / "latest"
    latest = latest_file.read_text(encoding="utf-8").strip() if latest_file.exists() else ""
    spared = set(protected)
    observer = observer if observer is not None else LeaseObserver()
    pruned = []
    for step in steps[:-keep]:
        export, state = ckpt_path / f"{tag_of(step)}_hf", ckpt_path / "_actor" / tag_of(step)
        if tag_of(step) == latest or step in spared or (export / BEST).exists():
            continue
        if step in steps[:-exports]:
            deleted = _delete_export(export, state, observer)
        else:
            deleted = state.is_dir()
            shutil.rmtree(state, ignore_errors=True)
        if deleted:
            pruned.append(step)
    return pruned


def _delete_export(export: Path, state: Path, observer: LeaseObserver) -> bool:
    """Delete an export, under its lease, so that no watcher starts on it meanwhile. False: it is being evaluated."""
    lease = None
    with contextlib.suppress(OSError):
        lease = acquire(export / LEASE, observer, STALE_AFTER)
    if lease is None or (export / BEST).exists():
        if lease is not None:
            lease.release()
        return False
    # The marker first: a half-deleted folder must not look whole. The export last: see _remove_half_pruned.
    (export / MARKER).unlink(missing_ok=True)
    shutil.rmtree(state, ignore_errors=True)
    shutil.rmtree(export, ignore_errors=True)
    lease.release()
    return True


def _remove_half_pruned(ckpt_path: Path, whole: list[int]) -> None:
    """What a crash left of a deletion: exports without a marker, older than a whole checkpoint."""
    for export in ckpt_path.glob("global_step*_hf"):
        match = _TAG.match(export.name.removesuffix("_hf"))
        if match and whole and int(match.group(1)) < whole[-1] and int(match.group(1)) not in whole:
            shutil.rmtree(ckpt_path / "_actor" / tag_of(int(match.group(1))), ignore_errors=True)
            shutil.rmtree(export, ignore_errors=True)


def wait_until_evaluated(ckpt_path: Path, step: int, timeout: float, poll: float = 1.0) -> bool:
    """Wait until a watcher has evaluated a checkpoint or given it up. False after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (ckpt_path / f"{tag_of(step)}_hf" / EVALUATED).exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(poll)
    return True
