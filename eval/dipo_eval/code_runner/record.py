"""Run a solution on a problem's inputs with evalplus's own runner, and write down what it returns.

evalplus compares results in the process that runs the solution, where a class with an ``__eq__`` of its own, or
a look at the caller's variables, passes every test. Here its runner runs with the solution in a jail that knows
no expected result; the results cross as plain data (wire.py) and are compared in another jail (compare.py), which uses
the runner again. Its exec, its time limit and its scratch folder are ours.
"""

from __future__ import annotations

import builtins
import contextlib
import os
import signal
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from dipo_eval.code_runner import wire

HEADER = struct.Struct(">cI")
VALUE, RAISED, FINISHED = b"V", b"X", b"E"
EARLY = "the process ended early"
DUMP_S = 30.0
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


@dataclass(frozen=True)
class Part:
    """One run: the solution and the inputs (wire.dump) of the base or plus tests, with a time limit for each."""

    code: str
    entry_point: str
    inputs: bytes
    time_limits: list[float]
    memory_bytes: int


@dataclass(frozen=True)
class Record:
    """The results in order, as bytes, up to the first test that gave none, and why it gave none.

    ``finished``: every test gave a result, the runner came to its end, and nothing was written after it.
    """

    results: list[bytes]
    stopped: str
    finished: bool


def record(part: Part, descriptor: int) -> None:
    """Run ``part`` and write a frame for every result. To be called in the jail: never returns a verdict."""
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

    inputs = wire.load(part.inputs)
    count = len(inputs)
    tests = Tests("", part.entry_point, inputs, [None] * count, part.time_limits, 0)
    if run_tests(tests, part.code, execute, part.memory_bytes, stop_early=True) == [True] * count:
        write(FINISHED, b"")


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
            set_timers(DUMP_S)  # writing it down is not the solution's time
            data = wire.dump(result)
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
    """The frames that a jail wrote. Damaged ones count as an early end, and so does anything after the end."""
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
            complete = at == len(output) and not data
            return Record(results, "" if complete else EARLY, complete)
        if tag == RAISED:
            return Record(results, data[:60].decode("ascii", "replace"), False)
        results.append(data)
    return Record(results, EARLY, False)


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


@contextlib.contextmanager
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
