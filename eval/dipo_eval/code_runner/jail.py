"""Run a function in a process that can neither harm the machine nor outlive its deadline.

Zygote, supervisor and inmate: ``run_jailed`` forks a supervisor, which raises the walls and forks a first process;
that one becomes an unprivileged user, takes its limits and forks the inmate, whose system calls are filtered
(seccomp.py). Walls: namespaces of its own (isolation.py), where the kernel kills all processes of a namespace with
its first one; or Landlock, which needs no privilege; or none ("weak"). The filter allows no second process,
so that nothing survives a deadline behind any of them.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

from dipo_eval.code_runner import isolation, kernel, seccomp

Ended = Literal["done", "died", "time", "size", "jail"]
Walls = Literal["namespaces", "landlock", "weak"]

REAP_LIMIT_S = 10.0
END_LIMIT_S = 5.0
_SPARE_USERS = 30_000  # at the end of the range of user ids
_READY, _FAILED = b"R", b"F"


@dataclass(frozen=True)
class Limits:
    """What an inmate may use.

    ``cpu_s``: processor seconds, the deadline where None. ``processes`` includes threads, the inmate itself and its
    parent; it holds where the inmate has a user of its own, since it counts by user: elsewhere no thread is allowed.
    ``forks``: whether the inmate may start processes at all.
    """

    memory_bytes: int = 2 * 1024**3
    file_bytes: int = 16 * 1024**2
    scratch_bytes: int = 32 * 1024**2
    scratch_files: int = 512
    open_files: int = 64
    processes: int = 4
    output_bytes: int = 64 * 1024**2
    cpu_s: int | None = None
    forks: bool = False


@dataclass(frozen=True)
class Place:
    """Where jails are made: at which empty folder, behind which walls.

    ``keep``: children of this process that are none of a jail's.
    """

    mount_point: str
    walls: Walls = "namespaces"
    keep: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Outcome:
    """What the inmate wrote, and how it ended: ``done`` in order, ``died`` by a signal or with a status of its own.

    ``detail``: why there was no jail.
    """

    output: bytes
    ended: Ended
    detail: str = ""


def run_jailed(inmate: Callable[[int], None], seconds: float, limits: Limits, place: Place) -> Outcome:
    """Call ``inmate(descriptor)`` in a jail and return what it wrote to the descriptor.

    At ``seconds`` by the clock, or above ``limits.output_bytes``, everything in the jail is killed. On return none
    of its processes is left. Nothing is written to ``place.mount_point``.
    """
    kernel.adopt_orphans()
    readable, writable = os.pipe()
    mapping = isolation.Mapping() if place.walls == "namespaces" else None
    sys.stdout.flush()
    supervisor = os.fork()
    if supervisor == 0:
        os.close(readable)
        _supervise(inmate, seconds, limits, place, mapping, writable)
    os.close(writable)
    if mapping is not None:
        mapping.write(supervisor, *_user_and_group(supervisor))
    status: int | None = None
    try:
        output, ended = _read(readable, time.monotonic() + seconds, limits.output_bytes)
        if ended == "done":
            status = _exit_status(supervisor)
            ended = "done" if status == 0 else "died"
    finally:
        os.close(readable)
        if status is None:
            os.kill(supervisor, signal.SIGKILL)
            os.waitpid(supervisor, 0)
        user = _user_and_group(supervisor)[0]
        gone = _reap(user if user != os.getuid() and mapping is None else None, place.keep)
    if not output.startswith(_READY):  # the first byte is written before the inmate runs
        reason = output.removeprefix(_FAILED).decode(errors="replace")
        return Outcome(b"", "jail", reason or f"it was not ready within {seconds:.0f} s")
    if not gone:
        return Outcome(b"", "jail", "processes of a solution could not be ended")
    return Outcome(output[1:], ended)


def _read(descriptor: int, deadline: float, max_bytes: int) -> tuple[bytes, Ended]:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN | select.POLLHUP)
    chunks: list[bytes] = []
    size = 0
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not poller.poll(left * 1000):
            return b"".join(chunks), "time"
        chunk = os.read(descriptor, 1 << 16)
        if not chunk:
            return b"".join(chunks), "done"
        size += len(chunk)
        if size > max_bytes:
            return b"".join(chunks), "size"
        chunks.append(chunk)


def _exit_status(supervisor: int) -> int | None:
    """The supervisor's exit status, which is the inmate's, or None where it does not end soon.

    To be asked when nobody can write any more: an inmate that has closed its descriptor may go on.
    """
    watched = os.pidfd_open(supervisor)
    try:
        poller = select.poll()
        poller.register(watched, select.POLLIN)
        if not poller.poll(END_LIMIT_S * 1000):
            return None
    finally:
        os.close(watched)
    return os.waitstatus_to_exitcode(os.waitpid(supervisor, 0)[1])


def _reap(user: int | None, keep: frozenset[int]) -> bool:
    """Kill and reap all children but ``keep``: the inmate's orphans become ours. True where none is left."""
    deadline = time.monotonic() + REAP_LIMIT_S
    while time.monotonic() < deadline:
        left = _children() - keep
        if not left:
            return True
        _kill_user(user)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.002)
    return False


def _children() -> set[int]:
    """Empty where the kernel keeps no such list: there a namespace ends what it held."""
    try:
        return set(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))
    except OSError:
        return set()


def _kill_user(user: int | None) -> None:
    """All processes of an inmate's own user at once, so that none can fork again."""
    if user is None:
        return
    pid = os.fork()
    if pid == 0:
        try:
            os.setresuid(user, user, user)
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def _user_and_group(supervisor: int) -> tuple[int, int]:
    """Whom an inmate runs as: for root a user that nobody else is, since process limits count by user.

    Ourselves where we are not root, or root of a container without other users.
    """
    if os.getuid() == 0:
        for line in Path("/proc/self/uid_map").read_text().splitlines():
            first, _, count = map(int, line.split())
            if count > _SPARE_USERS:
                user = first + count - _SPARE_USERS + supervisor % (_SPARE_USERS - 1)
                return user, user
    return os.getuid(), os.getgid()


def _supervise(
    inmate: Callable[[int], None],
    seconds: float,
    limits: Limits,
    place: Place,
    mapping: isolation.Mapping | None,
    writable: int,
) -> NoReturn:
    try:
        kernel.die_with_parent()
        user, group = _user_and_group(os.getpid())
        own_user = user != os.getuid()
        if mapping is not None:
            mapping.enter()
        first = os.fork()
        if first:
            os.close(writable)
            os._exit(_exit_code(os.waitpid(first, 0)[1]))
        kernel.die_with_parent()
        os.setsid()
        _silence(keep=writable)
        if mapping is not None:
            isolation.build_root(place.mount_point, limits.scratch_bytes, limits.scratch_files)
        _become(user, group)
        kernel.die_with_parent()  # a change of user cancels it
        _take_limits(limits, seconds, count_processes=own_user)
        if place.walls == "landlock":
            isolation.restrict_files(isolation.visible_folders(isolation.READ_ONLY), isolation.DEVICES)
        _start(inmate, writable, seccomp.Rules(limits.forks, threads=own_user, writes=mapping is not None))
    except BaseException as error:
        _fail(writable, error)


def _fail(writable: int, error: BaseException) -> NoReturn:
    try:
        os.write(writable, _FAILED + f"{type(error).__name__}: {error}".encode()[:1000])
    finally:
        os._exit(1)  # whatever happens: the code of our caller must not go on in this process


def _start(inmate: Callable[[int], None], writable: int, rules: seccomp.Rules) -> NoReturn:
    pid = os.fork()
    if pid == 0:
        _be_inmate(inmate, writable, rules)
    os.close(writable)
    ended = os.wait()
    while ended[0] != pid:  # orphans of the inmate: the first process of a namespace inherits them
        ended = os.wait()
    os._exit(_exit_code(ended[1]))  # and whatever it left running dies now


def _be_inmate(inmate: Callable[[int], None], writable: int, rules: seccomp.Rules) -> NoReturn:
    try:
        kernel.die_with_parent()
        seccomp.install(os.getpid(), rules)
    except BaseException as error:
        _fail(writable, error)
    os.write(writable, _READY)
    try:
        inmate(writable)
    except BaseException:
        os._exit(1)
    os._exit(0)


def _exit_code(status: int) -> int:
    """0 where a process ended with status 0, else 1."""
    return int(os.waitstatus_to_exitcode(status) != 0)


def _silence(keep: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.closerange(3, keep)
    os.closerange(keep + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _become(user: int, group: int) -> None:
    kernel.forbid_new_privileges()
    if user != os.getuid():
        os.setgroups([])
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
    kernel.drop_capabilities()


def _take_limits(limits: Limits, seconds: float, *, count_processes: bool) -> None:
    for kind, value in (
        (resource.RLIMIT_CPU, int(seconds) + 1 if limits.cpu_s is None else limits.cpu_s),
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_NOFILE, limits.open_files),
        *([(resource.RLIMIT_NPROC, limits.processes)] if count_processes else []),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
