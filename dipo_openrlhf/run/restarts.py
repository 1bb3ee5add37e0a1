"""A run that failed goes on by itself from its last whole checkpoint, `run.max_restarts` times at most."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dipo_eval.errors import UserError
from dipo_openrlhf.record.events import read_events


class RunFailedError(UserError):
    """A run that ended before its last step.

    Attributes:
        may_restart: whether the same run could get through the next time: a dead process or node, a hang; not a
            mistake in the recipe or the data, a full disk or too small a memory.
    """

    def __init__(self, message: str, may_restart: bool) -> None:
        super().__init__(message)
        self.may_restart = may_restart


def failure_of(run_dir: Path, status: int) -> RunFailedError:
    """Why the driver ended with `status` != 0: what it wrote itself, or how it was ended."""
    log = f"(log: {run_dir / 'train.log'})"
    failed = [event for event in read_events(run_dir) if event["stage"] == "failed"]
    if failed:  # the first is the cause; what followed from it may be written too
        return RunFailedError(f"{failed[0]['error']} {log}", failed[0].get("may_restart", True))
    cause = f"signal {-status}" if status < 0 else f"status {status}"
    return RunFailedError(f"the training process ended with {cause} and left no message {log}", True)


def with_restarts(
    run_once: Callable[[bool], Path],
    *,
    resume: bool,
    most: int,
    resumable: Callable[[], int | None],
    say: Callable[[str], None],
) -> Path:
    """Call `run_once(resume)` until it is through.

    `resumable`: the newest whole checkpoint's step, or None: then the run begins anew. `say` gets a line for each
    restart. Raises what `run_once` raises where it may not be restarted or was so `most` times.
    """
    for restart in range(1, most + 2):
        try:
            return run_once(resume)
        except RunFailedError as failure:
            if not failure.may_restart or restart > most:
                raise
            step = resumable()
            resume = step is not None
            start = f"from step {step}" if resume else "from the beginning"
            say(f"restart {restart} of {most} {start}: {failure}")
    raise AssertionError("unreachable")
