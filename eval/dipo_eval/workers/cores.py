"""How many processes a machine, or a container's share of it, has cores for."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """CPU cores that this process may run on (a container's share, where the system reports it)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def one_for_two_cores(least: int, most: int) -> int:
    """Worker processes beside the one that asks them."""
    return max(least, min(most, usable_cores() // 2))
