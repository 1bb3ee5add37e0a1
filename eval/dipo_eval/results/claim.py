"""Two evaluations of one (run, checkpoint, suite) at once: the second is refused, and none overwrites the other.

    <results>/.claims/<run>/<checkpoint>/<suite>.0, .1, ...    a lease each time (dipo_eval.files.lease)

A claim is taken only when there is something to evaluate, so that a complete folder is never written to. An owner on
this machine that has ended is seen at once; a lease of another machine is watched for a minute. A result that has changed
since the claim was taken is not overwritten. A deleted claim counts as free.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.files import lease as leases
from dipo_eval.files.bounded_file import MAX_RESULT, read_limited
from dipo_eval.results.store import RESULTS

FOLDER = ".claims"
_SETTINGS = ("engine", "seed", "n_samples", "limit", "temperature", "max_new_tokens")
_POLL_S = 0.5


@dataclass(frozen=True)
class Claim:
    """A suite's folder that only this process may write; `seen` is the fingerprint of its results.json at the start."""

    folder: Path
    seen: str
    base: Path
    lost: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raises UserError where storing now would overwrite what another evaluation has stored."""
        if fingerprint(self.folder) != self.seen:
            raise UserError(
                f"{self.folder}: another evaluation has written it meanwhile, and its result stays; to have this one too "
                "use another --run (its responses are kept)"
            )
        if self.lost.is_set() and leases.tail(self.base).number >= 0:
            raise UserError(
                f"{self.folder}: another evaluation considered this one dead and has taken over; nothing was stored, and "
                "the responses are kept: run it again when the other has ended"
            )


def fingerprint(folder: Path) -> str:
    """sha256 of the folder's results.json; empty where it cannot be read."""
    try:
        return hashlib.sha256(read_limited(folder / RESULTS, MAX_RESULT)).hexdigest()
    except OSError:
        return ""


@contextlib.contextmanager
def claimed(
    results_dir: Path,
    folder: Path,
    seen: str,
    settings: Mapping[str, Any],
    log: Callable[[str], None] = lambda line: None,
    stale_after: float = leases.STALE_AFTER,
) -> Iterator[Claim]:
    """Hold the claim on `folder` in the block; `settings` are shown to other processes that want it.

    Raises UserError where another process holds it, naming that and its settings, or where nothing can be written.
    """
    base = results_dir / FOLDER / folder.relative_to(results_dir)
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
        lease = _acquire(base, folder, _note(settings), log, stale_after)
    except OSError as error:
        raise UserError(
            f"{folder}: this has to be evaluated, and {results_dir} cannot be written to ({error.strerror})"
        ) from None
    claim = Claim(folder, seen, base)
    try:
        with leases.heartbeat(lease, stale_after, claim.lost.set):
            claim.check()
            yield claim
    finally:
        lease.release()


def _acquire(
    base: Path, folder: Path, note: str, log: Callable[[str], None], stale_after: float
) -> leases.Lease:
    """The lease, once it is free or its owner is gone; UserError while the owner is alive."""
    observer = leases.LeaseObserver()
    first: leases.Tail | None = None
    until = time.monotonic() + 2 * stale_after
    while True:
        lease = leases.acquire(base, observer, stale_after, note)
        if lease is not None:
            return lease
        last = leases.tail(base)
        beats = first is not None and (last.path, last.value) != (first.path, first.value)
        if not last.released and (last.is_here or beats or time.monotonic() > until):
            raise UserError(
                f"{folder}: is being evaluated by {last.holder} ({last.note or 'settings unknown'}); wait until that has "
                "ended, or use another --run"
            )
        if first is None and not last.released:
            first = last
            log(f"{folder}: claimed by {last.holder}; checking for {stale_after:.0f} s whether it is alive")
        time.sleep(_POLL_S)


def _note(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {settings[name]}" for name in _SETTINGS if name in settings)[:140]
