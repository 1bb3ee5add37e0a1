"""Run a solution on a problem's inputs with evalplus's own runner, and write down what it returns.

evalplus compares results in the process that runs the solution, where a class with an ``__eq__`` of its own, or
a look at the caller's variables, passes every test. Here its runner runs with the solution in a jail that knows
no expected result; the results are compared in another process, again by evalplus's runner (judge.py).
"""

from __future__ import annotations

import builtins
import os
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from dipo_eval.code_runner import values

HEADER = struct.Struct(">cI")
VALUE, RAISED, FINISHED = b"V", b"X", b"E"
WALL_FACTOR = 5.0
DUMP_S = 10.0


@dataclass(frozen=True)
class Part:
    """One run: the solution and the inputs of the base or of the plus tests, with a time limit for each."""

    code: str
    entry_point: str
    inputs: list[Any]
    time_limits: list[float]
    memory_bytes: int


@dataclass(frozen=True)
class Record:
    """The pickled results in order, up to the first test that gave none, and why it gave none."""

    results: list[bytes]
    stopped: str
    finished: bool


def record(part: Part, descriptor: int) -> None:
    """Run ``part`` and write a frame for every result. To be called in the jail: never returns a verdict."""
    import evalplus.eval as runner

    write = _writer(descriptor)

    def execute(source: str, scope: dict[str, Any]) -> None:
        namespace: dict[str, Any] = {}
        try:
            builtins.exec(source, namespace)  # in the jail, and nowhere else
            scope[part.entry_point] = _recording(namespace[part.entry_point], write)
        except KeyError as error:
            missing = error.args == (part.entry_point,)
            write(RAISED, (f"no function {part.entry_point}" if missing else "KeyError").encode())
            raise
        except BaseException as error:
            write(RAISED, describe(error))
            raise

    runner.exec = execute
    runner.time_limit = time_limit
    runner.query_maximum_memory_bytes = lambda: part.memory_bytes
    count = len(part.inputs)
    progress, stat = SimpleNamespace(value=0), SimpleNamespace(value=3)
    runner.unsafe_execute(
        "", part.entry_point, part.code, part.inputs, [None] * count, part.time_limits, 0, True,
        stat, [False] * count, progress,
    )  # fmt: skip
    if stat.value == 0:
        write(FINISHED, b"")


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
    _set_timers(seconds)
    try:
        yield
    finally:
        _set_timers(0)


def _set_timers(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, WALL_FACTOR * seconds)


def _writer(descriptor: int) -> Callable[[bytes, bytes], None]:
    os_write = os.write

    def write(tag: bytes, data: bytes) -> None:
        left = memoryview(HEADER.pack(tag, len(data)) + data)
        while left:
            left = left[os_write(descriptor, left) :]

    return write


def _recording(function: Callable[..., Any], write: Callable[[bytes, bytes], None]) -> Callable[..., None]:
    """``function``, its result written down and None returned: the runner here expects None everywhere."""

    def recorded(*arguments: Any) -> None:
        try:
            result = function(*arguments)
            _set_timers(DUMP_S)  # writing it down is not the solution's time
            data = values.dump(result)
        except BaseException as error:
            write(RAISED, describe(error))
            raise
        write(VALUE, data)

    return recorded


def describe(error: BaseException) -> bytes:
    """A short name for what a solution raised; its own text is left out."""
    from evalplus.eval.utils import TimeoutException

    if isinstance(error, TimeoutException):
        return b"time limit of a test"
    if isinstance(error, MemoryError):
        return b"memory limit"
    name = type(error).__name__
    return name.encode("ascii", "replace")[:60] if isinstance(name, str) else b"exception"


def parse(output: bytes) -> Record:
    """The frames that a jail wrote. Damaged ones count as an early end."""
    results: list[bytes] = []
    at = 0
    while at + HEADER.size <= len(output):
        tag, length = HEADER.unpack_from(output, at)
        at += HEADER.size
        data = output[at : at + length]
        at += length
        if len(data) < length or tag not in (VALUE, RAISED, FINISHED):
            break
        if tag == FINISHED:
            return Record(results, "", True)
        if tag == RAISED:
            return Record(results, data.decode("ascii", "replace"), False)
        results.append(data)
    return Record(results, "the process ended early", False)
