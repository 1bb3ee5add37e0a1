"""A limit on the memory of an entire jail, the kernel's own included, where this user may make control groups.

Source: Linux's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

_PREFIX = "dipo-jail-"
_ROOM_BYTES = 256 * 1024**2  # for the processes that watch the jail, and for what the kernel keeps


@dataclass(frozen=True)
class Group:
    """A control group of this worker's own."""

    folder: Path

    def enter(self) -> None:
        """Move this process, and so all that it starts, into the group. Raises OSError."""
        (self.folder / "cgroup.procs").write_text("0")

    def leave(self) -> None:
        """Move this process, the last one in it, back to the group above, and remove this one."""
        with contextlib.suppress(OSError):
            (self.folder.parent / "cgroup.procs").write_text("0")
        _remove(self.folder)


def create(memory_bytes: int) -> Group | None:
    """A group that holds ``memory_bytes``, or None where there is none to be had. Those of dead workers are removed."""
    for parent, limit in _parents():
        for stale in parent.glob(f"{_PREFIX}*"):
            pid = stale.name.removeprefix(_PREFIX)
            if pid.isdecimal() and not Path("/proc", pid).exists():
                _remove(stale)
        folder = parent / f"{_PREFIX}{os.getpid()}"
        try:
            folder.mkdir(exist_ok=True)
            (folder / limit).write_text(str(memory_bytes + _ROOM_BYTES))
            return Group(folder)
        except OSError:
            _remove(folder)
    return None


def _remove(folder: Path) -> None:
    """Once no process is left in it."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def _parents() -> list[tuple[Path, str]]:
    """This process's group in each hierarchy that may control memory, and the file that holds its limit."""
    found = []
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if "memory" in controllers.split(","):
                found.append((Path("/sys/fs/cgroup/memory") / path.lstrip("/"), "memory.limit_in_bytes"))
            elif not controllers:
                found.append((Path("/sys/fs/cgroup") / path.lstrip("/"), "memory.max"))
    # Outside its namespace's root a process sees "..", which leads to folders that are no groups.
    return [one for one in found if ".." not in one[0].parts and (one[0] / "cgroup.procs").is_file()]
