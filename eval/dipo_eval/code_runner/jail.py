"""Run a function in a process that can neither harm the machine nor outlive its deadline.

Zygote, supervisor and inmate: ``run_jailed`` forks a supervisor, which makes new user, mount, process, network
and IPC namespaces and forks their first process; that one builds a file system of read-only folders and a small
scratch space, becomes an unprivileged user, takes its limits and forks the inmate. When the first process of a
process namespace ends, the kernel kills all others in it: nothing survives a deadline, whatever it forked.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

from dipo_eval.code_runner import kernel

Ended = Literal["done", "time", "size", "jail"]

READ_ONLY = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/nix/store")
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
REAP_LIMIT_S = 10.0
_FAILED = b"\0jail\0"
_NAMESPACES = (
    kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS | kernel.CLONE_NEWPID
    | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
)  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """What an inmate may use. ``processes`` includes threads, the inmate itself and its parent."""

    memory_bytes: int = 2 * 1024**3
    file_bytes: int = 16 * 1024**2
    scratch_bytes: int = 32 * 1024**2
    scratch_files: int = 512
    open_files: int = 64
    processes: int = 4
    output_bytes: int = 64 * 1024**2


@dataclass(frozen=True)
class Outcome:
    """What the inmate wrote, and how it ended. ``detail`` says why there was no jail."""

    output: bytes
    ended: Ended
    detail: str = ""


def run_jailed(
    inmate: Callable[[int], None],
    seconds: float,
    limits: Limits,
    mount_point: str,
    *,
    namespaces: bool = True,
) -> Outcome:
    """Call ``inmate(descriptor)`` in a jail and return what it wrote to the descriptor.

    At ``seconds`` (wall clock and processor time alike), or above ``limits.output_bytes``, everything in the
    jail is killed. On return none of its processes is left. ``mount_point`` is an empty folder; nothing is
    written to it. Without ``namespaces`` only the limits, and for root the change of user, hold.
    """
    kernel.adopt_orphans()
    readable, writable = os.pipe()
    sys.stdout.flush()
    supervisor = os.fork()
    if supervisor == 0:
        os.close(readable)
        _supervise(inmate, seconds, limits, mount_point, writable, namespaces)
    os.close(writable)
    try:
        output, ended = _read(readable, seconds, limits.output_bytes)
    finally:
        os.close(readable)
        os.kill(supervisor, signal.SIGKILL)
        gone = _reap(inmate_user(supervisor) if os.getuid() == 0 and not namespaces else None)
    if output.startswith(_FAILED):
        return Outcome(b"", "jail", output.removeprefix(_FAILED).decode(errors="replace"))
    if not gone:
        return Outcome(b"", "jail", "processes of a solution could not be ended")
    return Outcome(output, ended)


def _read(descriptor: int, seconds: float, most: int) -> tuple[bytes, Ended]:
    deadline = time.monotonic() + seconds
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
        if size > most:
            return b"".join(chunks), "size"
        chunks.append(chunk)


def _reap(user: int | None) -> bool:
    """Wait for every child; kill those that are still there. Whether none is left."""
    deadline = time.monotonic() + REAP_LIMIT_S
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                _kill_children(user)
                time.sleep(0.002)
        except ChildProcessError:
            return True
    return False


def _kill_children(user: int | None) -> None:
    if (
        user is not None and os.fork() == 0
    ):  # all of that user's processes at once, so that none can fork again
        try:
            os.setresuid(user, user, user)
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    with contextlib.suppress(OSError):  # a kernel without this list still ends what a namespace held
        for pid in Path("/proc/self/task").joinpath(str(os.getpid()), "children").read_text().split():
            os.kill(int(pid), signal.SIGKILL)


def inmate_user(supervisor: int) -> int:
    """A user id that nobody else has, for the inmates of one supervisor: process limits count by user."""
    whole = Path("/proc/self/uid_map").read_text().split()[2] == "4294967295"
    return 3_000_000_000 + supervisor if whole else 30_000 + supervisor % 30_000


def _supervise(
    inmate: Callable[[int], None],
    seconds: float,
    limits: Limits,
    mount_point: str,
    writable: int,
    namespaces: bool,
) -> NoReturn:
    try:
        kernel.die_with_parent()
        user = inmate_user(os.getpid()) if os.getuid() == 0 else os.getuid()
        group = user if os.getuid() == 0 else os.getgid()
        if namespaces:
            _enter_namespaces(user, group)
        first = os.fork()
        if first:
            os.close(writable)
            os.waitpid(first, 0)
            os._exit(0)
        kernel.die_with_parent()
        os.setsid()
        _silence(keep=writable)
        if namespaces:
            _build_root(mount_point, limits)
        _become(user, group)
        kernel.die_with_parent()  # a change of user cancels it
        _take_limits(limits, seconds)
        _start(inmate, writable)
    except BaseException as error:
        os.write(writable, _FAILED + f"{type(error).__name__}: {error}".encode()[:500])
    os._exit(1)


def _start(inmate: Callable[[int], None], writable: int) -> NoReturn:
    pid = os.fork()
    if pid == 0:
        try:
            inmate(writable)
        finally:
            os._exit(0)
    os.close(writable)
    while os.wait()[0] != pid:  # orphans of the inmate: the first process of a namespace inherits them
        pass
    os._exit(0)  # and whatever it left running dies now


def _enter_namespaces(user: int, group: int) -> None:
    """unshare, with the id maps written from outside: root may only do that there."""
    supervisor, root = os.getpid(), os.getuid() == 0
    unshared, tell_unshared = os.pipe()
    mapped, tell_mapped = os.pipe()
    helper = os.fork()
    if helper == 0:
        try:
            os.read(unshared, 1)
            folder = Path("/proc") / str(supervisor)
            if not root:
                (folder / "setgroups").write_text("deny")
            for name, number in (("uid_map", user), ("gid_map", group)):
                (folder / name).write_text(("0 0 1\n" if root else "") + f"{number} {number} 1\n")
            os.write(tell_mapped, b"1")
        finally:
            os._exit(0)
    os.close(tell_mapped)
    try:
        kernel.unshare(_NAMESPACES)
        os.write(tell_unshared, b"1")
        if not os.read(mapped, 1):
            raise PermissionError("the user of a new namespace could not be set")
    finally:
        for descriptor in (unshared, tell_unshared, mapped):
            os.close(descriptor)
        os.waitpid(helper, 0)


def _silence(keep: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.closerange(3, keep)
    os.closerange(keep + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _build_root(mount_point: str, limits: Limits) -> None:
    """A file system of its own: this Python and the system's libraries read-only, four devices, a small /tmp."""
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", mount_point, "tmpfs", kernel.MS_NOSUID, "size=1m,nr_inodes=512,mode=755")
    for name in ("dev", "tmp", "proc"):
        Path(mount_point, name).mkdir()
    # The scratch space first: a Python that itself lies below /tmp is then bound into it, and not hidden by it.
    size = f"size={limits.scratch_bytes},nr_inodes={limits.scratch_files},mode=1777"
    kernel.mount("tmpfs", mount_point + "/tmp", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, size)
    for folder in visible_folders(READ_ONLY):
        inside = Path(mount_point + folder)
        inside.parent.mkdir(parents=True, exist_ok=True)
        if os.path.islink(folder):
            inside.symlink_to(os.readlink(folder))
        elif not inside.exists():
            inside.mkdir()
            kernel.mount(folder, str(inside), None, kernel.MS_BIND | kernel.MS_REC)
            kernel.make_read_only(str(inside))
    for device in DEVICES:
        Path(mount_point + device).touch()
        kernel.mount(device, mount_point + device, None, kernel.MS_BIND)
    _mount_proc(mount_point + "/proc")
    kernel.mount("none", mount_point, None, kernel.MS_REMOUNT | kernel.MS_RDONLY | kernel.MS_NOSUID)
    kernel.pivot_into(mount_point)
    os.environ["TMPDIR"] = "/tmp"


def _mount_proc(target: str) -> None:
    """The namespace's own /proc where that is allowed, to forbid further user namespaces; else none."""
    try:
        kernel.mount("proc", target, "proc", kernel.MS_NOSUID | kernel.MS_NODEV)
        Path(target, "sys/user/max_user_namespaces").write_text("0")
        kernel.mount(
            "none",
            target,
            None,
            kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV,
        )
    except OSError:
        return


def visible_folders(system: Sequence[str]) -> list[str]:
    """Absolute folders that an inmate may read: the system's and those of this Python, outer ones first."""
    own = {sys.prefix, sys.base_prefix, os.path.realpath(sys.prefix), os.path.realpath(sys.base_prefix)}
    return sorted(path for path in {*system, *own} if os.path.isdir(path) and path != "/")


def _become(user: int, group: int) -> None:
    kernel.forbid_new_privileges()
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
    kernel.drop_capabilities()


def _take_limits(limits: Limits, seconds: float) -> None:
    for kind, value in (
        (resource.RLIMIT_CPU, int(seconds) + 1),
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_NPROC, limits.processes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
