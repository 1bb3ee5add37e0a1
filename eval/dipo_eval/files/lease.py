"""Who works on a checkpoint: a lease that also holds on shared storage and between hosts with different clocks.

    EVALUATING.0, EVALUATING.1, ...    one file for each time that the checkpoint was leased; the last one counts

A lease is taken by creating the next number, all of its content at once: a temporary file is linked to the name,
which fails where the name exists, also on NFS (open(2), O_EXCL); where there are no hard links, O_EXCL itself. No
file is ever renamed or removed, so there is no moment at which two can succeed the same predecessor, and none at
which a slow owner's write can hit its successor's file: it writes through its own open file alone.

The owner rewrites its file with a growing number, the beat. A lease is stale once its file has not changed for
`stale_after` seconds OF THE OBSERVER'S OWN monotonic clock, counted from when the observer first saw it so; times
of two hosts are never compared. Where the owner ran under the same kernel and process namespace and is gone, its
lease is stale at once. An owner that was paused, or cut off from the storage, learns at its next beat that a
successor exists, or that it could not beat for too long, and gives up. What such an owner could still write in
that moment is a result that is checked by hash as any other (results.py).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dipo_eval.files.bounded_file import MAX_MARKER, open_regular

STALE_AFTER = 60.0  # seconds without a beat; a beat comes every fifth of that
BEATS = 5
_SIZE = 512  # bytes, always: a beat overwrites the file in place
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK)


@dataclass
class LeaseObserver:
    """What an observer has seen of leases: for each file its last value, and since when (monotonic seconds)."""

    seen: dict[Path, tuple[object, float]] = field(default_factory=dict)

    def unchanged_for(self, path: Path, value: object) -> float:
        """Seconds for which `value` has been the one seen at `path`; 0 where it is new."""
        now = time.monotonic()
        old = self.seen.get(path)
        if old is None or old[0] != value:
            self.seen[path] = (value, now)
            return 0.0
        return now - old[1]


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
        """The owner in words."""
        return f"{self.content.get('host', 'an unknown host')}, process {self.content.get('pid', 'unknown')}"

    @property
    def note(self) -> str:
        """What the owner has said of its work; "" where it has said nothing."""
        return str(self.content.get("note", ""))

    @property
    def is_here(self) -> bool:
        """Whether the owner is a process that certainly lives, on this machine."""
        identity = str(self.content.get("process", ""))
        return _is_ours(identity) and not is_gone(identity)


class Lease:
    """A lease that is held; see acquire."""

    def __init__(self, base: Path, number: int, content: dict[str, Any], stale_after: float) -> None:
        self.path = numbered(base, number)
        self._next = numbered(base, number + 1)
        self._content = content
        self._stale_after = stale_after
        self._file = os.open(self.path, os.O_RDWR)
        self._lock = threading.Lock()
        self._last_beat = time.monotonic()

    def beat(self) -> bool:
        """Say that the owner lives. False: the lease is lost, and nothing more may be done under it."""
        with self._lock:
            if self._next.exists() or not self.path.exists():
                return False
            self._content["beat"] += 1
            try:
                self._write()
            except OSError:  # a storage that is away for a moment
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


def numbered(base: Path, number: int) -> Path:
    return base.with_name(f"{base.name}.{number}")


def tail(base: Path) -> Tail:
    """The last lease; one that cannot be read is held by somebody unknown."""
    last = Tail(-1, base, {})
    for number in range(10**6):
        path = numbered(base, number)
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
    """Whether the lease is neither released nor stale. A new sight of a lease always counts as held."""
    if last.released or is_gone(last.content.get("process", "")):
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
    if not _create(numbered(base, last.number + 1), _encoded(content)):
        return None
    return Lease(base, last.number + 1, content, stale_after)


class Heartbeat:
    """Beats in a thread while in the block; calls `on_lost` where the lease is lost."""

    def __init__(self, lease: Lease, interval: float, on_lost: Callable[[], None]) -> None:
        self._lease, self._interval, self._on_lost = lease, interval, on_lost
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            if not self._lease.beat():
                self._on_lost()
                return


def process_identity(pid: int) -> str:
    """Kernel boot, process namespace, process id and start time; "" where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = os.readlink("/proc/self/ns/pid")
        return f"{boot}/{namespace}/{pid}/{_start_time(pid)}"
    except (OSError, IndexError):
        return ""


def is_gone(identity: str) -> bool:
    """Whether the process certainly ended: of this kernel and namespace, and no such process is there."""
    if not _is_ours(identity):
        return False
    try:
        _, _, pid, started = identity.split("/")
        return _start_time(int(pid)) != started
    except FileNotFoundError:
        return True
    except (OSError, ValueError, IndexError, AttributeError):
        return False


def _is_ours(identity: str) -> bool:
    """Whether an identity is of this kernel and process namespace, where it can be looked up."""
    here = process_identity(os.getpid()).split("/")[:2]
    return len(here) == 2 and identity.split("/")[:2] == here


def _start_time(pid: int) -> str:
    """Clock ticks after boot, field 22 of proc_pid_stat(5); "" for a zombie, which does nothing any more."""
    fields = (
        Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    )
    return "" if fields[0] in "ZX" else fields[19]


def _encoded(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode("ascii").ljust(_SIZE - 1) + b"\n"


def _create(path: Path, content: bytes) -> bool:
    """Create `path` with all its content, or return False where it exists."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    _write_new(temporary, content)
    try:
        os.link(temporary, path)
        return True
    except FileExistsError:
        # A link whose answer was lost on the way is repeated by NFS and then says that the name exists.
        return os.stat(temporary).st_nlink == 2
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    finally:
        temporary.unlink(missing_ok=True)
    try:
        _write_new(path, content)
        return True
    except FileExistsError:
        return False


def _write_new(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    try:
        os.write(handle, content)
        os.fsync(handle)
    finally:
        os.close(handle)
