"""The pipes to a worker: what is not taken or not answered ends at its deadline."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from dipo_eval.workers.process import PipedProcess, WorkerDiedError, WorkerTimeoutError

ECHO = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"
DEAF = "import time; time.sleep(60)"
LARGE = {"text": "x" * 1_000_000}


def _piped(program: str) -> PipedProcess:
    return PipedProcess(
        subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
    )


def _end(piped: PipedProcess) -> None:
    piped.process.kill()
    piped.process.wait(10)
    piped.close_pipes()


def test_a_worker_that_does_not_read_is_late():
    piped = _piped(DEAF)
    try:
        started = time.monotonic()
        with pytest.raises(WorkerTimeoutError):
            piped.write(LARGE, seconds=0.5)
        assert time.monotonic() - started < 10
    finally:
        _end(piped)


def test_a_large_task_arrives_whole():
    piped = _piped(
        "import sys, json\nprint(json.dumps({'n': len(json.loads(sys.stdin.readline())['text'])}), flush=True)"
    )
    try:
        piped.write(LARGE)
        assert piped.read(60) == {"n": 1_000_000}
    finally:
        _end(piped)


def test_a_worker_that_has_ended_is_lost():
    piped = _piped("pass")
    try:
        piped.process.wait(60)
        with pytest.raises(WorkerDiedError):
            piped.write(LARGE)
    finally:
        _end(piped)


def test_tasks_and_answers_take_turns():
    piped = _piped(ECHO)
    try:
        for number in range(3):
            piped.write({"n": number})
            assert piped.read(60) == {"n": number}
    finally:
        _end(piped)


@pytest.mark.parametrize("reply", ["[1]", "null", "not json", "{}\\n{}", "[" * 100_000])
def test_what_is_not_one_answer_is_a_death(reply: str) -> None:
    """Two lines would shift all later answers by one task."""
    piped = _piped(f"print({reply.encode().decode('unicode_escape')!r}, flush=True); input()")
    try:
        with pytest.raises(WorkerDiedError, match="not one answer"):
            piped.read(60)
    finally:
        _end(piped)
