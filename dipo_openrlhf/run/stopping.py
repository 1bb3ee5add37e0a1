"""Save before the end: what a request to stop does to a run that is training.

SIGTERM and SIGUSR1 leave the run `run.save_before` seconds in which it ends its step, saves and stops by itself. A second
signal, Ctrl-C, and a request while nothing is trained end it at once.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

from dipo_openrlhf.record.events import TRAINING, read_events
from dipo_openrlhf.record.stop_request import StopRequest, ask_to_stop, asked_to_stop

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class NothingToWaitForError(Exception):
    """The run was asked to stop, and is to be ended now."""


class StopNotice:
    """A context in which the signals ask the run to stop; `check` is to be called again and again."""

    def __init__(self, run_dir: Path, save_before: float) -> None:
        self.run_dir, self.save_before = run_dir, save_before
        self._request: StopRequest | None = None
        self._received: str | None = None
        self._deadline = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopNotice:
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def request(self) -> StopRequest | None:
        """What was asked, also where `check` has not seen it yet."""
        return self._request or (StopRequest(self._received) if self._received else None)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None:
            raise KeyboardInterrupt
        self._received = signal.Signals(number).name

    def check(self) -> None:
        """Pass a signal on to the trainer. Raises NothingToWaitForError where the run is to be ended at once."""
        if self._request is None:
            self._begin()
        elif time.monotonic() > self._deadline:
            _say("the step and its checkpoint were not done in time: ending without them")
            raise NothingToWaitForError

    def _begin(self) -> None:
        request = asked_to_stop(self.run_dir) or self.request
        if request is None:
            return
        self._request = request
        if not self.save_before or not _is_training(self.run_dir):
            raise NothingToWaitForError
        try:
            ask_to_stop(self.run_dir, request)
        except OSError as error:
            _say(f"asked to stop ({request.reason}), but the trainer cannot be told: {error}: ending at once")
            raise NothingToWaitForError from None
        seconds = min(self.save_before, request.seconds or self.save_before)
        self._deadline = time.monotonic() + seconds
        _say(
            f"asked to stop ({request.reason}): at most {seconds:.0f} s to end this step and save it; "
            "a second signal ends the run at once"
        )


def pause(run_dir: Path, seconds: float) -> None:
    """Wait before a restart. Raises KeyboardInterrupt as soon as the run is asked to stop for good."""
    deadline = time.monotonic() + seconds
    while True:
        request = asked_to_stop(run_dir)
        if request is not None and not request.may_restart:
            _say(f"asked to stop ({request.reason}) before the restart")
            raise KeyboardInterrupt
        if (left := deadline - time.monotonic()) <= 0:
            return
        time.sleep(min(left, 1.0))


def _is_training(run_dir: Path) -> bool:
    """Whether steps are made, so that there is something to save."""
    return any(event["stage"] == TRAINING for event in read_events(run_dir))


def _say(line: str) -> None:
    print(line, flush=True)
