"""The walls of a jail: namespaces, or Landlock where the kernel or a container forbids them.

Namespaces give it a file system, processes and a network of its own. Landlock needs no privilege:
no file can be written, and only the named folders can be read; what a path's metadata tells stays visible.
Source: Linux's Documentation/userspace-api/landlock.rst, linux/landlock.h.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
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
_SWITCHES = {  # value that forbids: the reason to report
    "/proc/sys/kernel/unprivileged_userns_clone": ("0", "sysctl kernel.unprivileged_userns_clone is 0"),
    "/proc/sys/user/max_user_namespaces": ("0", "sysctl user.max_user_namespaces is 0"),
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": (
        "1", "sysctl kernel.apparmor_restrict_unprivileged_userns is 1",
    ),
}  # fmt: skip

_NEEDED = 3  # the version of Landlock that can refuse truncation (Linux 6.2)
_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446  # the same on every architecture
_GET_VERSION, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_EVERY_ACCESS = {3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP = 0b11  # bind and connect, from version 4
_SCOPES = 0b11  # abstract sockets and signals, from version 6
_NO_FLAGS = ctypes.c_uint(0)


class Mapping:
    """How a process that enters namespaces gets its user there: its parent writes the id maps, as only it may.

    Made before the fork; ``enter`` is called in the child, ``write`` in the parent.
    """

    def __init__(self) -> None:
        self._child, self._parent = socket.socketpair()

    def enter(self) -> None:
        """unshare. Raises PermissionError with what is missing and how a container grants it."""
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
    status = map(str.split, Path("/proc/self/status").read_text().splitlines())
    filtered = ["Seccomp:", "2"] in status
    who = "a container's system call filter refuses unshare" if filtered else "CAP_SYS_ADMIN is missing"
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


def _landlock_version() -> int:
    """The kernel's version of Landlock; 0 without it."""
    try:
        return kernel.syscall("Landlock", _CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(_GET_VERSION))
    except OSError:
        return 0


def restrict_files(folders: Sequence[str], devices: Sequence[str]) -> None:
    """Let this process and its children read below ``folders`` and use ``devices``, and nothing else. Raises OSError.

    Needs no_new_privs (kernel.forbid_new_privileges).
    """
    found = _landlock_version()
    if found < _NEEDED:
        raise OSError(f"Landlock: version {found}, {_NEEDED} is needed (Linux 6.2)")
    every = _EVERY_ACCESS[min(found, 5)]
    attributes = struct.pack("=QQQ", every, _TCP if found >= 4 else 0, _SCOPES if found >= 6 else 0)
    size = 24 if found >= 6 else 16 if found >= 4 else 8
    rules = kernel.syscall("Landlock", _CREATE, attributes, ctypes.c_size_t(size), _NO_FLAGS)
    try:
        for path in folders:
            _allow(rules, path, _READ_FILE | _READ_DIR | _EXECUTE)
        for path in devices:
            _allow(rules, path, _READ_FILE | _WRITE_FILE)
        kernel.syscall("Landlock", _RESTRICT, ctypes.c_int(rules), _NO_FLAGS)
    finally:
        os.close(rules)


def _allow(rules: int, path: str, access: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", access, descriptor)
        kernel.syscall(
            "Landlock", _ADD_RULE, ctypes.c_int(rules), ctypes.c_int(_PATH_BENEATH), rule, _NO_FLAGS
        )
    finally:
        os.close(descriptor)
