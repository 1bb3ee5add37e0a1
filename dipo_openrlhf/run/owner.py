"""One run, one owner: a second start in a run's folder is refused while the first one lives, on this host or another.

The lease is that of dipo_eval/files/lease.py: a heartbeat in numbered files, OWNER.0, OWNER.1, ..., of which the last one
counts. It holds on storage that several hosts share; what a killed process or a lost node left is taken over.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dipo_eval.errors import UserError
from dipo_eval.files.lease import STALE_AFTER, Lease, LeaseObserver, acquire, heartbeat, tail

OWNER = "OWNER"
POLL_SECONDS = 1.0


@contextlib.contextmanager
def owned(
    folders: list[Path],
    log: Callable[[str], None],
    stale_after: float = STALE_AFTER,
    what: str = "a training",
    option: str = "--run.dir",
) -> Iterator[None]:
    """Hold the folders of a run, which are made; equal ones, and one within another, are one.

    Raises UserError with the owner's host and process where one is held. A lease of another host that does not beat any
    more is waited for, `stale_after` seconds at most: `log` gets a line then. Whose own lease is lost is interrupted.
    `what` runs and `option` names the folder, for the message.
    """
    with contextlib.ExitStack() as stack:
        for folder in _outermost(folders):
            folder.mkdir(parents=True, exist_ok=True)
            refusal = f"{what} runs in it already ({{}}): wait until it has ended, end it, or choose another folder "
            lease = _take(folder, log, stale_after, f"{refusal}with {option}")
            stack.callback(lease.release)
            stack.enter_context(heartbeat(lease, stale_after, _interrupt))
        yield


def _outermost(folders: list[Path]) -> list[Path]:
    whole = list(dict.fromkeys(folder.resolve() for folder in folders))
    return [one for one in whole if not any(one != other and one.is_relative_to(other) for other in whole)]


def _take(folder: Path, log: Callable[[str], None], stale_after: float, refusal: str) -> Lease:
    base, observer, first = folder / OWNER, LeaseObserver(), None
    while True:
        try:
            lease = acquire(base, observer, stale_after)
        except OSError as error:
            raise UserError(f"{folder}: nothing can be written there ({error.strerror})") from None
        if lease is not None:
            return lease
        last = tail(base)
        if last.is_here or (first is not None and last.value != first):
            raise UserError(f"{folder}: {refusal.format(last.holder)}")
        if first is None:
            first = last.value
            log(
                f"{folder}: waiting whether its last owner still lives ({last.holder}), at most {stale_after:.0f} s"
            )
        time.sleep(min(POLL_SECONDS, stale_after / 5))


def _interrupt() -> None:
    """Another start has taken over, after this one could not beat for long: it must not write on."""
    os.kill(os.getpid(), signal.SIGINT)
