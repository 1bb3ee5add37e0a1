"""Choose the walls of the jails on this machine: the first kind behind which every limit is seen to hold.

Each limit is tried from inside a jail, not assumed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import mmap
import os
import resource
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dipo_eval.code_runner import kernel
from dipo_eval.code_runner.jail import Limits, Place, Walls, run_jailed

PROBE_S = 20.0
Answer = Callable[[dict[str, Any]], dict[str, Any]]
# Numbers of calls that the filter refuses, x86_64 and aarch64, with arguments that any kernel takes.
_REFUSED: dict[str, tuple[dict[str, int], tuple[int, ...]]] = {
    "shmget": ({"x86_64": 29, "aarch64": 194}, (0, 4096, 0o1600)),
    "memfd_create": ({"x86_64": 319, "aarch64": 279}, (0, 0)),
    "userfaultfd": ({"x86_64": 323, "aarch64": 282}, (1,)),
    "io_uring_setup": ({"x86_64": 425, "aarch64": 425}, (1, 0)),
    "bpf": ({"x86_64": 321, "aarch64": 280}, (0, 0, 0)),
    "perf_event_open": ({"x86_64": 298, "aarch64": 241}, (0, 0, -1, -1, 0)),
    "keyctl": ({"x86_64": 250, "aarch64": 219}, (0, -3, 0)),
    "unshare": ({"x86_64": 272, "aarch64": 97}, (0x10000000,)),
    "ptrace": ({"x86_64": 101, "aarch64": 117}, (0, 0, 0, 0)),
    "execve": ({"x86_64": 59, "aarch64": 221}, (0, 0, 0)),
}  # fmt: skip
_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_VSOCK)
_SIGNALS: tuple[Callable[[], object], ...] = (
    lambda: os.kill(os.getppid(), signal.SIGCONT),
    lambda: os.kill(-1, 0),
    lambda: fcntl.fcntl(0, fcntl.F_SETOWN, os.getppid()),
    lambda: fcntl.fcntl(0, fcntl.F_SETSIG, signal.SIGCONT),
)


@dataclass(frozen=True)
class Choice:
    """``limits``: name -> whether it was seen to hold."""

    walls: Walls
    limits: dict[str, bool]


class NoWallsError(Exception):
    """No kind of walls holds here. The message lists what each lacks."""


def choose(kinds: Sequence[Walls], limits: Limits, mount_point: str) -> Choice:
    """Try ``kinds`` in their order. Behind "weak" walls, which are asked for by name, some limits may fail.

    Raises NoWallsError.
    """
    reasons = []
    is_root = os.getuid() == 0 and Path("/proc/self/uid_map").read_text().split()[2] != "1"
    secret = Path(mount_point, "secret")

    def inmate(descriptor: int) -> None:
        _report(descriptor, limits, str(secret), is_root=is_root)

    for walls in kinds:
        secret.touch()
        try:
            outcome = run_jailed(inmate, PROBE_S, limits, Place(mount_point, walls))
        finally:
            secret.unlink()
        if outcome.ended != "done":
            reasons.append(f"{walls}: {outcome.detail or f'the trial ended with {outcome.ended}'}")
            continue
        held = json.loads(outcome.output)
        if not held.pop("python"):
            where = f"{os.__file__}; install Python where every user can read it"
            reasons.append(f"{walls}: a user without rights cannot read {where}")
        elif walls == "weak" or all(held.values()):
            return Choice(walls, held)
        else:
            missing = ", ".join(name for name, holds in held.items() if not holds)
            reasons.append(f"{walls}: no limit on {missing}")
    raise NoWallsError("; ".join(reasons))


def load(settings: dict[str, Any]) -> Answer:
    """A worker that answers every task with the choice. ``settings``: walls and folder. Raises NoWallsError."""
    found = asdict(choose(settings["walls"], Limits(), settings["folder"]))
    return lambda task: found


def ending(answer: Answer) -> Answer:
    """``answer``, and the end of this process where it raises: of its jails nothing is known then."""

    def guarded(task: dict[str, Any]) -> dict[str, Any]:
        try:
            return answer(task)
        except Exception as error:
            raise SystemExit(f"{type(error).__name__}: {error}") from error

    return guarded


def _report(descriptor: int, limits: Limits, secret: str, *, is_root: bool) -> None:
    """Inside a jail: try every limit, write those that hold as a JSON object of name and yes or no.

    ``secret``: a path that must be hidden. ``is_root``: whether user 0 is the machine's.
    """
    found = {
        "cpu time": _cannot_be_raised(resource.RLIMIT_CPU),
        "memory": _refused(lambda: mmap.mmap(-1, limits.memory_bytes)) and _call_is_refused("memfd_create"),
        "shared memory": _call_is_refused("shmget"),
        "file size": _cannot_be_raised(resource.RLIMIT_FSIZE),
        "open files": _files_run_out(limits.open_files),
        "processes": _refused(lambda: os.fork() or os._exit(0)) and _call_is_refused("execve"),
        "network": all(_refused(partial(socket.socket, family)) for family in _FAMILIES),
        "files": all(_refused(Path(path).read_bytes) for path in (secret, "/etc/passwd", "/etc/hosts"))
        and _refused(lambda: Path("/usr/dipo-was-here").touch()),
        "signals": all(map(_refused, _SIGNALS)),
        "system calls": all(map(_call_is_refused, _REFUSED)),
        "user": not (is_root and os.getuid() == 0) and not kernel.has_capabilities(),
        "python": os.access(os.__file__, os.R_OK),
    }
    os.write(descriptor, json.dumps(found).encode())


def _refused(action: Callable[[], object]) -> bool:
    """Whether the kernel refuses it."""
    try:
        action()
    except (OSError, ValueError):
        return True
    return False


def _call_is_refused(name: str) -> bool:
    numbers, arguments = _REFUSED[name]
    number = numbers.get(os.uname().machine)
    if number is None:
        return False
    try:
        kernel.syscall(name, number, *map(ctypes.c_long, arguments))
    except OSError as error:
        return error.errno == errno.EPERM
    return False


def _cannot_be_raised(kind: int) -> bool:
    """Whether a limit is set, and for good."""
    _, hard = resource.getrlimit(kind)
    if hard == resource.RLIM_INFINITY:
        return False
    return _refused(lambda: resource.setrlimit(kind, (hard, hard + 1)))


def _files_run_out(max_files: int) -> bool:
    with contextlib.ExitStack() as held:
        return _refused(lambda: [held.enter_context(open(os.devnull)) for _ in range(max_files + 1)])
