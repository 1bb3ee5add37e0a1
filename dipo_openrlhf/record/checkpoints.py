"""Marking a checkpoint complete, finding the one to resume from, and rotation.

OpenRLHF prunes BEFORE it saves and evicts by metric (openrlhf/utils/deepspeed/deepspeed.py, DeepspeedStrategy.save_ckpt):
saving step 10 can delete step 9, the one that `latest` names, and a crash in between leaves nothing to resume from.
Here the order is save, verify, mark, then prune, and what `latest` names is never pruned.

Folders and marker files are those of dipo_eval.subject.marker; a lease keeps a checkpoint while it is evaluated.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dipo_eval.files.atomic import write_atomic
from dipo_eval.files.lease import STALE_AFTER, LeaseObserver, acquire, is_held, tail
from dipo_eval.subject.marker import (
    BEST,
    EVALUATED,
    LEASE,
    MARKER,
    Marked,
    complete_checkpoints,
    export_folder,
    export_folders,
    read_json,
    saves_to_evaluate,
    step_of,
    tag_of,
    write_json,
)


def state_folder(ckpt_path: Path, step: int) -> Path:
    """DeepSpeed's folder of a step: weights, optimizer, scheduler, client state (with DiPO's queue)."""
    return ckpt_path / "_actor" / tag_of(step)


def mark_complete(ckpt_path: Path, step: int, facts: dict[str, Any], *, exported: bool = True) -> None:
    """Write the completion marker of a step whose files are all on disk; marks of an earlier save of it are removed.

    Where a run exports nothing (ckpt.save_hf: false) it is in DeepSpeed's folder.
    """
    folder = (export_folder if exported else state_folder)(ckpt_path, step)
    for stale in (EVALUATED, BEST):
        (folder / stale).unlink(missing_ok=True)
    write_json(folder / MARKER, {"step": step, **facts})


def saved_steps(steps: int, save_steps: int) -> list[int]:
    """Which of the steps 1 to `steps` a run saves: every `save_steps`-th, and the last."""
    return sorted({*range(save_steps, steps + 1, save_steps), *([steps] if steps else [])})


def marked_checkpoints(ckpt_path: Path) -> list[Marked]:
    """Checkpoints with a marker, in their export or in DeepSpeed's folder, oldest first."""
    found = {one.step: one for one in complete_checkpoints(ckpt_path)}
    for folder in (ckpt_path / "_actor").glob("global_step*"):
        step = step_of(folder.name)
        if step is not None and step not in found and (content := read_json(folder / MARKER)) is not None:
            found[step] = Marked(step, export_folder(ckpt_path, step), content)
    return [found[step] for step in sorted(found)]


def resumable_steps(ckpt_path: Path) -> list[int]:
    """Steps that have both a marker and DeepSpeed's folder, oldest first."""
    found = marked_checkpoints(ckpt_path)
    return [one.step for one in found if state_folder(ckpt_path, one.step).is_dir()]


def withdraw(ckpt_path: Path, step: int) -> None:
    """Take back a step that was saved and is not usable: its marker is removed, and `latest` names the newest complete
    checkpoint, or is removed where there is none. The step's files stay for inspection until a resume removes them.
    """
    for folder in (export_folder(ckpt_path, step), state_folder(ckpt_path, step)):
        (folder / MARKER).unlink(missing_ok=True)
    if steps := resumable_steps(ckpt_path):
        _point_latest_at(ckpt_path, steps[-1])
    else:
        (ckpt_path / "_actor" / "latest").unlink(missing_ok=True)


def point_latest_at_newest_complete(ckpt_path: Path) -> int | None:
    """Make `latest` name the newest complete checkpoint; folders of later, unfinished steps are removed.

    Removed first: on a disk that a half-written checkpoint filled, not even `latest` could be written. Returns
    the step, or None when there is nothing to resume from.
    """
    steps = resumable_steps(ckpt_path)
    if not steps:
        return None
    states = [(step_of(folder.name), folder) for folder in (ckpt_path / "_actor").iterdir()]
    for step, folder in [*states, *export_folders(ckpt_path)]:
        if step is not None and step > steps[-1]:
            _remove(folder)
    if _latest(ckpt_path) != tag_of(steps[-1]):
        _point_latest_at(ckpt_path, steps[-1])
    return steps[-1]


def _latest(ckpt_path: Path) -> str:
    path = ckpt_path / "_actor" / "latest"
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


def _point_latest_at(ckpt_path: Path, step: int) -> None:
    write_atomic(ckpt_path / "_actor" / "latest", tag_of(step).encode())


def prune(
    ckpt_path: Path,
    keep: int,
    *,
    keep_exports: int | None = None,
    evaluate_every: int = 0,
    observer: LeaseObserver | None = None,
) -> list[int]:
    """Delete checkpoints beyond the newest `keep`; returns the steps of which something was deleted.

    Never deleted: the one `latest` names, the best by evaluation (BEST.json), one that is being evaluated. `keep` <= 0
    keeps everything. One that was saved off schedule, before an end, is replaced by the next that is complete.
    `keep_exports`: so many Hugging Face exports stay, at least `keep`; None: `keep`, 0: all.
    `evaluate_every` N: the export of every N-th save stays until it is evaluated or given up; 0: none does.
    `observer` of earlier calls distinguishes a dead watcher's lease from a live one's.
    """
    if keep <= 0:
        return []
    found = marked_checkpoints(ckpt_path)
    _remove_half_pruned(ckpt_path, [checkpoint.step for checkpoint in found])
    replaced = [one.step for one in found[:-1] if one.marker.get("scheduled") is False]
    steps = [checkpoint.step for checkpoint in found if checkpoint.step not in replaced]
    unevaluated = {one.step for one in _unevaluated(found, evaluate_every)}
    exports = {None: keep, 0: len(steps)}.get(keep_exports, max(keep, keep_exports or 0))
    latest = _latest(ckpt_path)
    observer = observer if observer is not None else LeaseObserver()
    pruned = []
    for step in (*replaced, *steps[:-keep]):
        export, state = export_folder(ckpt_path, step), state_folder(ckpt_path, step)
        if tag_of(step) == latest or (export / BEST).exists():
            continue
        exported = export.is_dir()
        if exported and (step in replaced or (step in steps[:-exports] and step not in unevaluated)):
            if _delete_export(export, state, observer):
                pruned.append(step)
        elif state.is_dir():
            if not state.is_symlink():
                (state / MARKER).unlink(missing_ok=True)  # first, as in _delete_export
            _remove(state, ignore_errors=True)
            pruned.append(step)
    return pruned


def _unevaluated(found: Sequence[Marked], evaluate_every: int) -> list[Marked]:
    """The saves that are still to be evaluated; none with `evaluate_every` 0."""
    waiting = saves_to_evaluate(found, every=evaluate_every) if evaluate_every else []
    return [one for one in waiting if not (one.hf_path / EVALUATED).exists()]


def unattended_exports(ckpt_path: Path, evaluate_every: int, observer: LeaseObserver) -> int:
    """How many exports wait to be evaluated while none is; 0 where a watcher is at work on one."""
    waiting = _unevaluated(complete_checkpoints(ckpt_path), evaluate_every)
    at_work = [is_held(tail(one.hf_path / LEASE), observer, STALE_AFTER) for one in waiting]
    return 0 if any(at_work) else len(waiting)


def _remove(folder: Path, *, ignore_errors: bool = False) -> None:
    """Delete a checkpoint's folder; of one that is a symbolic link the link alone, not what is behind it."""
    if folder.is_symlink():
        with contextlib.suppress(OSError) if ignore_errors else contextlib.nullcontext():
            folder.unlink()
    elif folder.is_dir():
        shutil.rmtree(folder, ignore_errors=ignore_errors)


def _delete_export(export: Path, state: Path, observer: LeaseObserver) -> bool:
    """Delete an export, under its lease, so that no watcher starts on it meanwhile. False: it is being evaluated."""
    lease = None
    with contextlib.suppress(OSError):
        lease = acquire(export / LEASE, observer, STALE_AFTER)
    if lease is None:
        return False
    try:
        if (export / BEST).exists():
            return False
        # The marker first: a half-deleted folder must not count as complete. The export last: see _remove_half_pruned.
        if not export.is_symlink():
            (export / MARKER).unlink(missing_ok=True)
        _remove(state, ignore_errors=True)
        _remove(export, ignore_errors=True)
        return True
    finally:
        lease.release()


def _remove_half_pruned(ckpt_path: Path, complete: list[int]) -> None:
    """What a crash left of a deletion: exports without a marker, older than a complete checkpoint."""
    for step, export in list(export_folders(ckpt_path)):
        if complete and step < complete[-1] and step not in complete:
            _remove(state_folder(ckpt_path, step), ignore_errors=True)
            _remove(export, ignore_errors=True)


def wait_until_evaluated(
    ckpt_path: Path,
    step: int,
    timeout: float,
    poll: float = 1.0,
    give_up: Callable[[], bool] = lambda: False,
) -> bool:
    """Wait until a watcher has evaluated a checkpoint or given it up. False after `timeout` seconds, or on `give_up`."""
    deadline = time.monotonic() + timeout
    while not (export_folder(ckpt_path, step) / EVALUATED).exists():
        if time.monotonic() > deadline or give_up():
            return False
        time.sleep(poll)
    return True
