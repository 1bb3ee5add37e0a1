"""The walls of a jail where the kernel allows user namespaces: a file system, processes and a network of its own."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from dipo_eval.code_runner import kernel

READ_ONLY = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/nix/store")
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_ALL = (
    kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS | kernel.CLONE_NEWPID
    | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
)  # fmt: skip
_ENTER_S = 10.0
_SWITCHES = {  # value that forbids: what to say
    "/proc/sys/kernel/unprivileged_userns_clone": ("0", "sysctl kernel.unprivileged_userns_clone is 0"),
    "/proc/sys/user/max_user_namespaces": ("0", "sysctl user.max_user_namespaces is 0"),
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": (
        "1", "sysctl kernel.apparmor_restrict_unprivileged_userns is 1",
    ),
}  # fmt: skip


class Mapping:
    """How a process that enters namespaces gets its user there: its parent writes the id maps, as only it may.

    Made before the fork; ``enter`` is called in the child, ``write`` in the parent.
    """

    def __init__(self) -> None:
        self._child, self._parent = socket.socketpair()

    def enter(self) -> None:
        """unshare. Raises PermissionError that says what is missing and how a container grants it."""
        self._parent.close()
        with self._child:
            try:
                kernel.unshare(_ALL)
            except OSError as error:
                raise PermissionError(f"namespaces are forbidden here: {why_forbidden()}") from error
            self._child.sendall(b"1")
            if not self._child.recv(1):
                raise PermissionError("the user of a new namespace could not be set")

    def write(self, child: int, user: int, group: int) -> None:
        """Wait until ``child`` is inside, or has failed, and map its user and group."""
        self._child.close()
        root = os.getuid() == 0
        with self._parent, contextlib.suppress(OSError):  # the child reports what is missing
            self._parent.settimeout(_ENTER_S)
            if self._parent.recv(1):
                folder = Path("/proc") / str(child)
                if not root:
                    (folder / "setgroups").write_text("deny")
                for name, number in (("uid_map", user), ("gid_map", group)):
                    (folder / name).write_text(("0 0 1\n" if root else "") + f"{number} {number} 1\n")
                self._parent.sendall(b"1")


def why_forbidden() -> str:
    """What keeps this process from making user namespaces, as far as it can tell, and how to allow them."""
    for path, (forbidding, reason) in _SWITCHES.items():
        try:
            if Path(path).read_text().strip() == forbidding:
                return f"{reason}; the machine's administrator can change it"
        except OSError:
            continue
    filtered = any(
        line.split() == ["Seccomp:", "2"] for line in Path("/proc/self/status").read_text().splitlines()
    )
    who = (
        "a container's system call filter refuses unshare"
        if filtered
        else "the right CAP_SYS_ADMIN is missing"
    )
    return (
        f"{who}; Docker grants it with --security-opt seccomp=unconfined --security-opt apparmor=unconfined, Kubernetes "
        "with securityContext: {seccompProfile: {type: Unconfined}, appArmorProfile: {type: Unconfined}}"
    )


def build_root(mount_point: str, scratch_bytes: int, scratch_files: int) -> None:
    """A file system of its own: this Python and the system's libraries read-only, four devices, a small /tmp."""
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", mount_point, "tmpfs", kernel.MS_NOSUID, "size=1m,nr_inodes=512,mode=755")
    for name in ("dev", "tmp", "proc"):
        Path(mount_point, name).mkdir()
    # The scratch space first: a Python that itself lies below /tmp is then bound into it, and not hidden by it.
    size = f"size={scratch_bytes},nr_inodes={scratch_files},mode=1777"
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
    except OSError:
        return
    for name in ("user/max_user_namespaces", "kernel/shmmax", "kernel/shmall"):
        with contextlib.suppress(OSError):
            Path(target, "sys", name).write_text("0")
    read_only = kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("none", target, None, read_only)


def visible_folders(system: Sequence[str]) -> list[str]:
    """Absolute folders that an inmate may read: the system's and those of this Python, outer ones first."""
    own = {sys.prefix, sys.base_prefix, os.path.realpath(sys.prefix), os.path.realpath(sys.base_prefix)}
    return sorted(path for path in {*system, *own} if os.path.isdir(path) and path != "/")
