"""The folder of a run's checkpoints: its names, and the marker files by which training and watchers know of each other.

<ckpt>/_actor/global_step7/             DeepSpeed's state of one step; `_actor/latest` names the one that a resume loads
<ckpt>/global_step7_hf/                 the Hugging Face export, which evaluation loads
<ckpt>/global_step7_hf/COMPLETE.json    by the trainer, last: weights and optimizer state are on disk
<ckpt>/global_step7_hf/EVALUATING.0     by a watcher: a lease (dipo_eval.files.lease)
<ckpt>/global_step7_hf/EVALUATED.json   by a watcher: evaluated, or given up after the last attempt
<ckpt>/global_step7_hf/BEST.json        by a watcher: the best so far, by half of the items; never pruned
<ckpt>/ENDED.json                       by the trainer: no further checkpoint comes, and why

OpenRLHF gives the folders their names: openrlhf/trainer/ppo_trainer.py, BasePPOTrainer.save_logs_and_checkpoints and
openrlhf/trainer/ray/ppo_actor.py, PolicyModelActor.save_checkpoint. Markers are written atomically, by rename.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
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
_TAG = re.compile(
    r"global_step(0|[1-9][0-9]{0,17})"
)  # only what tag_of writes, with no second spelling of a step


def tag_of(step: int) -> str:
    """A checkpoint's name, as in the results, and that of DeepSpeed's folder."""
    return f"global_step{step}"


def step_of(name: str, suffix: str = "") -> int | None:
    """The step of a folder named by its tag, an export's with the suffix "_hf"; None for any other name."""
    match = _TAG.fullmatch(name.removesuffix(suffix)) if name.endswith(suffix) else None
    return int(match[1]) if match else None


def export_folder(ckpt_path: Path, step: int) -> Path:
    """The folder of a step's Hugging Face export."""
    return ckpt_path / f"{tag_of(step)}_hf"


def export_folders(ckpt_path: Path) -> Iterator[tuple[int, Path]]:
    """(step, folder) of every export, complete or not, in no order."""
    for folder in ckpt_path.glob("global_step*_hf"):
        if (step := step_of(folder.name, "_hf")) is not None:
            yield step, folder


@dataclass(frozen=True)
class Marked:
    """One complete checkpoint of a run, or the starting model as step 0: its export and what its marker says."""

    step: int
    hf_path: Path
    marker: dict[str, Any]

    @property
    def name(self) -> str:
        return tag_of(self.step)

    @property
    def weights_hash(self) -> str:
        """The hash that the trainer took when it had written the weights; "" in a marker without one."""
        return str(self.marker.get("weights_hash", ""))


def found_finite(folder: Path) -> str | None:
    """Hash of the weights that the trainer found finite before it marked this export; None without such a marker."""
    marker = read_json(folder / MARKER) or {}
    return str(marker.get("weights_hash")) if marker.get("weights_finite") is True else None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """A small JSON file, written atomically. Raises OSError."""
    write_atomic(path, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where there is none that can be read."""
    try:
        content = parse_json(read_limited(path, MAX_MARKER))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def complete_checkpoints(ckpt_path: Path) -> list[Marked]:
    """Checkpoints with a completion marker, oldest step first."""
    markers = [(step, folder, read_json(folder / MARKER)) for step, folder in export_folders(ckpt_path)]
    found = [Marked(step, folder, content) for step, folder, content in markers if content is not None]
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def ordinal(checkpoint: Marked, position: int) -> int:
    """1-based index of this save within its run.

    From the marker's `save_steps`, so that pruning changes nothing; else its position among those on disk.
    """
    every = checkpoint.marker.get("save_steps")
    if isinstance(every, int) and every > 0:
        return -(-checkpoint.step // every)
    return position


def saves_to_evaluate(found: Sequence[Marked], *, every: int = 1, last_too: bool = False) -> list[Marked]:
    """Every `every`-th save of `found`, which is in step order; with `last_too` the last one as well.

    One that was saved off schedule, since the run was asked to stop, is evaluated only as the last.
    """
    regular = [c for c in found if c.marker.get("scheduled") is not False]
    picked = [c for position, c in enumerate(regular, 1) if ordinal(c, position) % every == 0]
    if last_too and found and found[-1] not in picked:
        picked.append(found[-1])
    return picked


def training_started(ckpt_path: Path) -> None:
    """Withdraw the end of an earlier attempt: checkpoints are coming."""
    (ckpt_path / ENDED).unlink(missing_ok=True)


def training_ended(ckpt_path: Path, outcome: str) -> None:
    """Record that no checkpoint will follow. `outcome`: done, failed or interrupted; the first one recorded stays.

    Never raises: on a full disk, which may be what ended the training, it leaves an empty file where it can.
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
