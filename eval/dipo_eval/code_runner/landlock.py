"""Hide files from a process without any right or namespace: Landlock, which most containers allow.

No file can be written, and only the named folders can be read. What a path's metadata tells stays visible.
Source: Linux's Documentation/userspace-api/landlock.rst, linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence

NEEDED = 3
"""The version that can refuse truncation (Linux 6.2)."""
_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446  # the same on every architecture
_GET_VERSION, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_EVERY_ACCESS = {3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP = 0b11  # bind and connect, from version 4
_SCOPES = 0b11  # abstract sockets and signals, from version 6

_libc = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """The kernel's version of Landlock; 0 without it."""
    return max(
        0, int(_libc.syscall(ctypes.c_long(_CREATE), None, ctypes.c_size_t(0), ctypes.c_uint(_GET_VERSION)))
    )


def restrict(folders: Sequence[str], devices: Sequence[str]) -> None:
    """Let this process and its children read below ``folders`` and use ``devices``, and nothing else. Raises OSError.

    Needs no_new_privs (kernel.forbid_new_privileges).
    """
    found = version()
    if found < NEEDED:
        raise OSError(f"Landlock: version {found}, {NEEDED} is needed (Linux 6.2)")
    every = _EVERY_ACCESS[min(found, 5)]
    attributes = struct.pack("=QQQ", every, _TCP if found >= 4 else 0, _SCOPES if found >= 6 else 0)
    size = 24 if found >= 6 else 16 if found >= 4 else 8
    rules = _checked(_CREATE, attributes, ctypes.c_size_t(size), ctypes.c_uint(0))
    try:
        for path in folders:
            _allow(rules, path, _READ_FILE | _READ_DIR | _EXECUTE)
        for path in devices:
            _allow(rules, path, _READ_FILE | _WRITE_FILE)
        _checked(_RESTRICT, ctypes.c_int(rules), ctypes.c_uint(0))
    finally:
        os.close(rules)


def _allow(rules: int, path: str, access: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", access, descriptor)
        _checked(_ADD_RULE, ctypes.c_int(rules), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint(0))
    finally:
        os.close(descriptor)


def _checked(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock: {os.strerror(ctypes.get_errno())}")
    return result
