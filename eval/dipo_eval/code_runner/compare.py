"""Compare what a solution returned with what is expected, by evalplus's own runner. To be called in a jail.

Whatever the solution's jail wrote is read here for the first time, in a process that can reach nothing, knows one
problem, and whose address layout the solution cannot know: it is not forked from the same process.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from dipo_eval.code_runner import wire
from dipo_eval.code_runner.record import EARLY, Record, Tests, parse, run_tests

_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_ .")


@dataclass(frozen=True)
class Comparison:
    """The first test that failed, counted from 0, and why; None and "" where all passed."""

    failed: int | None
    reason: str


def compare(tests: Tests, output: bytes, descriptor: int, memory_bytes: int) -> None:
    """Write down the comparison of a solution's frames (record.py) with ``tests.expected``."""
    record = parse(output)
    failed = first_failure(tests, record, memory_bytes)
    if failed is None:
        message = b"correct"
    elif failed < len(record.results):
        message = b"%d wrong result" % failed
    else:
        stopped = "".join(character for character in record.stopped if character in _PLAIN)
        message = b"%d %s" % (failed, (stopped or EARLY).encode("ascii"))
    os.write(descriptor, message)


def read(message: bytes, count: int) -> Comparison | None:
    """What ``compare`` wrote about ``count`` tests; None for anything else. The one thing that leaves its jail."""
    if message == b"correct":
        return Comparison(None, "")
    number, _, reason = message[:100].decode("ascii", "replace").partition(" ")
    if not (number.isascii() and number.isdecimal() and len(number) < 7 and int(number) < count):
        return None
    return Comparison(int(number), reason) if reason and set(reason) <= _PLAIN else None


def first_failure(tests: Tests, record: Record, memory_bytes: int) -> int | None:
    """The first test that is not accepted, or None: all are, and the solution came to its end in order."""
    passed = accepted_tests(tests, record, memory_bytes)
    if False in passed:
        return passed.index(False)
    in_order = record.finished and len(record.results) == len(passed)
    return None if in_order else len(passed) - 1


def accepted_tests(tests: Tests, record: Record, memory_bytes: int) -> list[bool]:
    """For each test, whether evalplus's runner accepts what is recorded of it.

    evalplus sets its tolerance to 1e-6 at the first float that it expects and keeps it for the tests after it;
    with the floats last, no other test is compared with it.
    """
    import evalplus.eval as runner

    count = len(tests.inputs)
    order = sorted(range(count), key=lambda index: bool(runner.is_floats(tests.expected[index])))
    results = iter([record.results[i] if i < len(record.results) else None for i in order])

    def execute(source: str, scope: dict[str, Any]) -> None:
        scope[tests.entry_point] = lambda *arguments: _replay(next(results))

    columns = ("inputs", "expected", "time_limits")
    in_order: dict[str, Any] = {name: [getattr(tests, name)[index] for index in order] for name in columns}
    sorted_tests = replace(tests, **in_order)
    accepted = run_tests(sorted_tests, "", execute, memory_bytes, stop_early=False)
    passed = [False] * count
    for index, good in zip(order, accepted, strict=False):  # none where the comparison itself ended early
        passed[index] = good
    return passed


def _replay(result: bytes | None) -> Any:
    if result is None:
        raise ValueError("no result")
    return wire.load(result)
