"""Clocks of one process: seconds by phase, and the time in which something is in progress."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class PhaseClock:
    """Seconds by phase. A phase within another pauses it, so that phases never count a second twice."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._seconds: dict[str, float] = {}
        self._stack: list[str] = []
        self._since = self._began = now()

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        self._turn()
        self._stack.append(phase)
        try:
            yield
        finally:
            self._turn()
            self._stack.pop()

    def timed(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, whose calls are the phase."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self(phase):
                return function(*args, **kwargs)

        return call

    def _turn(self) -> None:
        """Credit the current phase with what has passed."""
        now = self._now()
        if self._stack:
            phase = self._stack[-1]
            self._seconds[phase] = self._seconds.get(phase, 0.0) + now - self._since
        self._since = now

    def take(self) -> tuple[float, dict[str, float]]:
        """(seconds since the last call or the beginning, of these by phase); begins again."""
        self._turn()
        wall, seconds = self._since - self._began, self._seconds
        self._began, self._seconds = self._since, {}
        return wall, seconds


class BusyTime:
    """Seconds in which at least one of what is counted is in progress."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._count = 0
        self._since = self._total = 0.0

    def __enter__(self) -> None:
        if self._count == 0:
            self._since = self._now()
        self._count += 1

    def __exit__(self, *error: object) -> None:
        self._count -= 1
        if self._count == 0:
            self._total += self._now() - self._since

    def take(self) -> float:
        """Seconds since the last call; what is in progress goes on."""
        now = self._now()
        if self._count:
            self._total += now - self._since
            self._since = now
        total, self._total = self._total, 0.0
        return total
