"""Markdown tables of the benchmarks' results, and the machine that they were measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable


def machine() -> str:
    """Processor, cores and Python."""
    processor = platform.processor() or platform.machine()
    return f"{processor}, {os.cpu_count()} cores, Python {platform.python_version()}"


def header(*names: str) -> None:
    """Print the head of a table."""
    row(names)
    print("|" + "---|" * len(names))


def row(cells: Iterable[object]) -> None:
    """Print one row; at once, since the next may take minutes."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)
