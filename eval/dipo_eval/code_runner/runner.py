"""evalplus's own runner, ``unsafe_execute``, with what a jail changes: exec, the time limit and its scratch folder."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

WALL_FACTOR = 5.0
Execute = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class Tests:
    """One test an element: arguments, the result that evalplus expects, and the processor seconds that it may take."""

    dataset: str
    entry_point: str
    inputs: list[Any]
    expected: list[Any]
    time_limits: list[float]
    atol: float


def run_tests(
    tests: Tests, code: str, execute: Execute, memory_bytes: int, *, stop_early: bool
) -> list[bool]:
    """Which tests evalplus's runner accepts, in their order; shorter where ``stop_early`` ended it.

    ``execute`` stands in for exec: it gets ``code`` and the scope in which the function is looked up. To be called
    in a jail, once: the runner takes functions of the process away.
    """
    import evalplus.eval as runner

    runner.exec = execute
    runner.time_limit = time_limit
    runner.query_maximum_memory_bytes = lambda: memory_bytes
    if not _has_scratch_space():
        runner.create_tempdir = contextlib.nullcontext
    count = len(tests.inputs)
    details, progress, stat = [False] * count, SimpleNamespace(value=0), SimpleNamespace(value=3)
    runner.unsafe_execute(
        tests.dataset, tests.entry_point, code, tests.inputs, tests.expected, tests.time_limits, tests.atol,
        stop_early, stat, details, progress,
    )  # fmt: skip
    return details[: progress.value]


def _has_scratch_space() -> bool:
    try:
        os.rmdir(tempfile.mkdtemp())
    except OSError:
        return False
    return True


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """evalplus's limit for one test, counted in processor time; five times as much by the clock.

    evalplus counts by the clock alone, which makes a verdict depend on what else the machine does.
    """
    from evalplus.eval.utils import TimeoutException

    def stop(number: int, frame: object) -> None:
        raise TimeoutException("Timed out!")

    signal.signal(signal.SIGPROF, stop)
    signal.signal(signal.SIGALRM, stop)
    set_timers(seconds)
    try:
        yield
    finally:
        set_timers(0)


def set_timers(seconds: float) -> None:
    """End the running test after ``seconds`` more of processor time."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, WALL_FACTOR * seconds)


def is_floats(value: Any) -> bool:
    """evalplus's own test for what it compares with a tolerance."""
    import evalplus.eval as runner

    return bool(runner.is_floats(value))
