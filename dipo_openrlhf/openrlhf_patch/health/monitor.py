"""A thread that asks again and again whether something vital has died, and ends the process with the cause if so."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from dipo_openrlhf.record.events import write_event


def watch_for_death(
    name: str,
    find_cause: Callable[[], str | None],
    run_dir: Path,
    poll: float,
    exit_now: Callable[[int], None] = os._exit,
) -> threading.Event:
    """Call `find_cause` every `poll` seconds, until the returned event is set.

    A cause is written as the run's failure, which may be restarted, and the process ends at once: whoever waits for it
    is told so, and `dipo train` ends what it leaves. Set the event before the end in good order, which is no death.
    """
    stopping = threading.Event()

    def watch() -> None:
        while not stopping.wait(poll):
            cause = find_cause()
            if cause is not None and not stopping.is_set():
                write_event(run_dir, "failed", error=cause, may_restart=True)
                exit_now(1)
                return

    threading.Thread(target=watch, name=name, daemon=True).start()
    return stopping
