"""How many processes a machine, or a container's share of it, has cores for."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_GROUPS = "sys/fs/cgroup"


def usable_cores(root: Path = Path("/")) -> int:
    """CPU cores that this process may keep busy: those that it may run on, or as many as its control groups give it
    time for, such as `docker run --cpus 2` and a pod's CPU limit. `root`: where `proc` and `sys` are.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cores = os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(quota) for quota in _quotas(root))]))


def one_for_two_cores(least: int, most: int) -> int:
    """Worker processes beside the one that asks them."""
    return max(least, min(most, usable_cores() // 2))


def _quotas(root: Path) -> Iterator[float]:
    """Cores' worth of time that each group of this process may use; only of groups with a limit. Source: Linux's
    Documentation/admin-guide/cgroup-v2.rst (cpu.max) and Documentation/scheduler/sched-bwc.rst (cpu.cfs_quota_us).
    """
    for folder in _own_groups(root):
        with contextlib.suppress(OSError, ValueError):  # no limit: no such file, "max" or -1
            if (limit := folder / "cpu.max").is_file():
                quota, period = map(int, limit.read_text().split())
            else:
                quota = int((folder / "cpu.cfs_quota_us").read_text())
                period = int((folder / "cpu.cfs_period_us").read_text())
            if quota > 0 and period > 0:
                yield quota / period


def _own_groups(root: Path) -> Iterator[Path]:
    """This process's groups that may control the processor, each with those above it. In a container the one at the top
    may be its own, whatever path the kernel names.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        if line.count(":") < 2:  # not as Linux writes it: another kernel's /proc
            continue
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            top = root / _GROUPS / ("cpu" if controllers else "")
            own = PurePosixPath(path.lstrip("/"))
            yield from (top / each for each in (own, *own.parents))
