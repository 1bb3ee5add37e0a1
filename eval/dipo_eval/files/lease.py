"""Who works on a checkpoint: a lease that also holds on shared storage and between hosts with different clocks.

    EVALUATING.0, EVALUATING.1, ...    one file for each time that the checkpoint was leased; the last one counts

A lease is taken by creating the next number atomically (files/atomic.py, create_once). No file is ever renamed or
removed, so that two processes never both succeed the same predecessor, and a slow owner, which writes through its own
open file, never writes to its successor's.

The owner rewrites its file with a growing number, the beat. A lease is stale once its file has not changed for
`stale_after` seconds OF THE OBSERVER'S OWN monotonic clock, counted from when the observer first saw it so; times
of two hosts are never compared. Where the owner ran under the same kernel and process namespace and is gone, its
lease is stale at once. An owner that was paused, or cut off from the storage, gives up at its next beat if it has a
successor or could not beat for too long. What it could still write is a result, which is checked by its hash.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dipo_eval.files.atomic import create_once
from dipo_eval.files.bounded_file import MAX_MARKER, open_regular
from dipo_eval.files.processes import is_gone, is_local, process_identity
from dipo_eval.printable import visible

STALE_AFTER = 60.0  # seconds without a beat; a beat comes every fifth of that
BEATS = 5
_SIZE = 512  # bytes, always: a beat overwrites the file in place


@dataclass
class LeaseObserver:
    """What an observer has seen of leases: for each file its last value, and since when (monotonic seconds)."""

    seen: dict[Path, tuple[object, float]] = field(default_factory=dict)

    def unchanged_for(self, path: Path, value: object) -> float:
        """Seconds for which `value` has been the one seen at `path`; 0 where it is new."""
        now = time.monotonic()
        if path not in self.seen or self.seen[path][0] != value:
            self.seen[path] = (value, now)
        return now - self.seen[path][1]


@dataclass(frozen=True)
class Tail:
    """The last lease of a checkpoint: number -1 where it was never leased."""

    number: int
    path: Path
    content: dict[str, Any]
    value: object = None

    @property
    def released(self) -> bool:
        return self.number < 0 or self.content.get("state") == "released"

    @property
    def holder(self) -> str:
        """The owner, for a message."""
        host, pid = self.content.get("host", "an unknown host"), self.content.get("pid", "unknown")
        return visible(f"{host}, process {pid}")

    @property
    def note(self) -> str:
        """The owner's note on its work; "" without one."""
        return visible(str(self.content.get("note", "")), 500)

    @property
    def is_here(self) -> bool:
        """Whether the owner is a process that certainly lives, on this machine."""
        identity = str(self.content.get("process", ""))
        return is_local(identity) and not is_gone(identity)


class Lease:
    """A lease that is held; see acquire."""

    def __init__(self, base: Path, number: int, content: dict[str, Any], stale_after: float) -> None:
        self.path = _numbered(base, number)
        self._next = _numbered(base, number + 1)
        self._content = content
        self._stale_after = stale_after
        self._file = os.open(self.path, os.O_RDWR)
        self._lock = threading.Lock()
        self._last_beat = time.monotonic()

    def beat(self) -> bool:
        """Show that the owner lives. False: the lease is lost, and nothing more may be done under it."""
        with self._lock:
            try:
                if self._next.exists() or not self.path.exists():
                    return False
                self._content["beat"] += 1
                self._write()
            except OSError:  # storage that is unavailable for a moment
                return time.monotonic() - self._last_beat < self._stale_after
            self._last_beat = time.monotonic()
            return True

    def release(self) -> None:
        """Let the next one have it at once. Writes to its own file alone, also where it was lost meanwhile."""
        with self._lock:
            if self._file < 0:
                return
            self._content["state"] = "released"
            with contextlib.suppress(OSError):
                self._write()
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = -1

    def _write(self) -> None:
        os.pwrite(self._file, _encoded(self._content), 0)
        os.fsync(self._file)


def tail(base: Path) -> Tail:
    """The last lease; one that cannot be read is held by an unknown owner."""
    last = Tail(-1, base, {})
    for number in range(10**6):
        path = _numbered(base, number)
        try:
            with open_regular(path, MAX_MARKER) as file:
                raw, changed = file.read(MAX_MARKER), os.fstat(file.fileno()).st_mtime_ns
        except FileNotFoundError:
            break
        except OSError as error:
            last = Tail(number, path, {}, f"unreadable: {error.errno or error}")
            continue
        try:
            content = json.loads(raw)
        except (ValueError, RecursionError):
            content = {}
        last = Tail(number, path, content if isinstance(content, dict) else {}, (raw, changed))
    return last


def is_held(last: Tail, observer: LeaseObserver, stale_after: float) -> bool:
    """Whether the lease is neither released nor stale. A lease seen for the first time always counts as held."""
    if last.released or is_gone(last.content.get("process")):
        return False
    return observer.unchanged_for(last.path, last.value) < stale_after


def acquire(
    base: Path, observer: LeaseObserver, stale_after: float = STALE_AFTER, note: str = ""
) -> Lease | None:
    """Lease what `base` stands for, or None where another holds it or was quicker. `note`: a few words on the work.

    Raises OSError where the folder is gone or cannot be written to.
    """
    last = tail(base)
    if is_held(last, observer, stale_after):
        return None
    content = {
        "owner": uuid.uuid4().hex,
        "host": socket.gethostname()[:100],
        "pid": os.getpid(),
        "process": process_identity(os.getpid()),
        "beat": 0,
        "state": "held",
        **({"note": note} if note else {}),
    }
    if not create_once(_numbered(base, last.number + 1), _encoded(content)):
        return None
    return Lease(base, last.number + 1, content, stale_after)


@contextlib.contextmanager
def heartbeat(lease: Lease, stale_after: float, on_lost: Callable[[], None]) -> Iterator[None]:
    """Beat in a thread while in the block, BEATS times in `stale_after` seconds; `on_lost` if the lease is lost."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(stale_after / BEATS):
            if not lease.beat():
                on_lost()
                return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _numbered(base: Path, number: int) -> Path:
    return base.with_name(f"{base.name}.{number}")


def _encoded(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode("ascii").ljust(_SIZE - 1) + b"\n"
