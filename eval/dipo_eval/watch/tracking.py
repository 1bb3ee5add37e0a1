"""wandb and TensorBoard at a checkpoint's step, in a process of its own with a time limit: no service ends a watcher.

    python -m dipo_eval.watch.tracking     the targets and the figures as one JSON object on standard input

Every figure is on the axis `eval/step`, the training step of the checkpoint, in whatever order checkpoints are evaluated.
wandb works offline too (WANDB_MODE=offline); it reads its key itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from dipo_eval.secrets.masking import mask_text
from dipo_eval.watch import wandb_service

_LIMIT_S = 180.0


@dataclass(frozen=True)
class Trackers:
    """Where to log; all empty: nowhere. A wandb run of its own, or the run `wandb_id`, which is resumed."""

    wandb_project: str = ""
    wandb_id: str = ""
    wandb_name: str = ""
    wandb_group: str = ""
    wandb_entity: str = ""
    wandb_dir: str = ""
    tensorboard: str = ""


def track(trackers: Trackers, step: int, row: dict[str, float]) -> str | None:
    """Log one checkpoint. Returns None, or in one line why it could not be logged."""
    if not trackers.wandb_project and not trackers.tensorboard:
        return None
    content = json.dumps({"trackers": asdict(trackers), "step": step, "row": row})
    command = [sys.executable, "-P", "-m", "dipo_eval.watch.tracking"]
    try:
        done = subprocess.run(command, input=content, capture_output=True, text=True, timeout=_LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"no answer within {_LIMIT_S:.0f} s"
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return mask_text(lines[-1] if lines else f"status {done.returncode}")[:600]


def _log_wandb(trackers: Trackers, step: int, row: dict[str, float]) -> str:
    """What was not as asked, in one line."""
    said: list[str] = []
    run = wandb_service.init(
        said.append,
        project=trackers.wandb_project,
        entity=trackers.wandb_entity or None,
        id=trackers.wandb_id or None,
        resume="allow" if trackers.wandb_id else None,
        name=trackers.wandb_name or None,
        group=trackers.wandb_group or None,
        dir=trackers.wandb_dir or None,
    )
    run.define_metric("eval/step")
    for key in row:  # by name: exact names win over a pattern that the training's own logger has defined
        run.define_metric(key, step_metric="eval/step")
    run.log({**row, "eval/step": step})
    run.finish()
    return "; ".join(said)


def _log_tensorboard(folder: str, step: int, row: dict[str, float]) -> None:
    """Scalars without torch's SummaryWriter, which takes seconds and a gigabyte to import."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    Path(folder).mkdir(parents=True, exist_ok=True)
    writer = EventFileWriter(folder, filename_suffix=".eval")
    values = [Summary.Value(tag=key, simple_value=value) for key, value in row.items()]
    writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
    writer.close()


def main() -> None:
    """Log what standard input holds; an exception of a service ends in status 1 and its message."""
    content = json.load(sys.stdin)
    trackers = Trackers(**content["trackers"])
    if trackers.tensorboard:
        _log_tensorboard(trackers.tensorboard, content["step"], content["row"])
    if trackers.wandb_project:
        sys.exit(_log_wandb(trackers, content["step"], content["row"]) or 0)


if __name__ == "__main__":
    main()
