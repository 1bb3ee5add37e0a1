"""The few Linux calls that Python 3.11 lacks: unshare, mounts, pivot_root, capabilities and process control."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
from collections.abc import Iterable
from typing import Any

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18

_MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NODEV = 1, 2, 4
_SYS_MOUNT_SETATTR = 442  # on every architecture
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(name: str, result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def syscall(name: str, number: int, *arguments: object) -> int:
    """The result of a system call. Raises OSError that names it."""
    return _checked(name, int(_libc.syscall(ctypes.c_long(number), *arguments)))


def unshare(flags: int) -> None:
    """unshare(2). Raises OSError where the kernel or a container forbids it."""
    _checked("unshare", _libc.unshare(flags))


def mount(source: str, target: str, kind: str | None, flags: int = 0, data: str | None = None) -> None:
    """mount(2)."""
    encoded: list[Any] = [None if text is None else text.encode() for text in (source, target, kind, data)]
    _checked(f"mount {target}", _libc.mount(*encoded[:3], ctypes.c_ulong(flags), encoded[3]))


class _MountAttributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns")]


_SIZE = ctypes.sizeof(_MountAttributes)


def make_read_only(path: str) -> None:
    """Make a mount and all mounts below it read-only, without devices and set-uid (mount_setattr(2), Linux 5.12)."""
    wanted = _MountAttributes(_MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV, 0, 0, 0)
    arguments = path.encode(), ctypes.c_uint(_AT_RECURSIVE), ctypes.byref(wanted), ctypes.c_size_t(_SIZE)
    try:
        syscall(f"mount_setattr {path}", _SYS_MOUNT_SETATTR, ctypes.c_int(_AT_FDCWD), *arguments)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        reason = "mount_setattr: the kernel has no such call, Linux 5.12 or later is needed"
        raise OSError(errno.ENOSYS, reason) from None


def pivot_into(root: str) -> None:
    """Make ``root`` the file system of this mount namespace and let go of the old one."""
    number = _SYS_PIVOT_ROOT.get(platform.machine())
    if number is None:
        raise OSError(f"pivot_root: not known for {platform.machine()}")
    os.chdir(root)
    syscall("pivot_root", number, b".", b".")
    _checked("umount", _libc.umount2(b".", _MNT_DETACH))
    os.chdir("/")


def prctl(option: int, *arguments: int | bytes, name: str = "prctl") -> None:
    """prctl(2), with up to four numbers or addresses of memory. ``name``: in the message of an OSError."""
    values = [ctypes.c_ulong(one) if isinstance(one, int) else one for one in (*arguments, 0, 0, 0)[:4]]
    _checked(name, _libc.prctl(option, *values))


def die_with_parent() -> None:
    """SIGKILL for this process when its parent ends."""
    prctl(_PR_SET_PDEATHSIG, 9)


def adopt_orphans() -> None:
    """Descendants whose parents end become children of this process, so that none is lost sight of."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def forbid_new_privileges() -> None:
    """No exec can bring rights any more: empty the bounding set (where we may) and set no_new_privs."""
    for capability in range(64):
        with contextlib.suppress(OSError):  # above the kernel's last one, or without the right to
            prctl(_PR_CAPBSET_DROP, capability)
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """Give up every capability of this process."""
    _capabilities("capset")


def has_capabilities() -> bool:
    """Whether this process holds any, effective, permitted or inheritable."""
    return any(_capabilities("capget"))


def _capabilities(call: str) -> Iterable[int]:
    """capget(2), or capset(2) of none."""
    header, sets = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    _checked(call, getattr(_libc, call)(ctypes.byref(header), ctypes.byref(sets)))
    return sets
