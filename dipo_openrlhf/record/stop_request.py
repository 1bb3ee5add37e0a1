"""STOP.json in a run's folder: the run is to finish its step, save a complete checkpoint and end.

Written by `dipo train` on a signal, by the driver for a node that is drained, and by launchers/stop_run.py before a pod
ends; read by the trainer after each step.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from dipo_eval.errors import UserError
from dipo_eval.subject.marker import read_json, write_json

STOP = "STOP.json"


@dataclass(frozen=True)
class StopRequest:
    """Why, and how long there is: seconds from the moment at which it was asked; 0: as run.save_before says."""

    reason: str
    seconds: float = 0.0
    may_restart: bool = False  # here, as after a fault: not where whoever asked starts the run again


def ask_to_stop(run_dir: Path, request: StopRequest) -> None:
    """Ask; what was asked first stays. Raises OSError."""
    if asked_to_stop(run_dir) is None:
        write_json(run_dir / STOP, asdict(request))


def asked_to_stop(run_dir: Path) -> StopRequest | None:
    """What was asked of the run, or None."""
    try:
        content = read_json(run_dir / STOP)
    except OSError:
        return None
    if content is None:
        return None
    try:
        seconds = float(content.get("seconds", 0.0))
    except (TypeError, ValueError, OverflowError):
        seconds = 0.0
    seconds = seconds if math.isfinite(seconds) and seconds > 0 else 0.0
    return StopRequest(str(content.get("reason", "")), seconds, content.get("may_restart") is True)


def withdraw_stop(run_dir: Path) -> None:
    """What was asked has been done, or was asked of an earlier run. Raises UserError where STOP.json is no file."""
    try:
        (run_dir / STOP).unlink(missing_ok=True)
    except (IsADirectoryError, PermissionError) as error:
        raise UserError(f"{run_dir / STOP}: {error.strerror or error}: remove it") from None
