"""Everything a run started ends with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid

from dipo_openrlhf.processes import RUN_ID, end_processes, processes_of

# A child in a session of its own that ignores SIGTERM: what a wedged worker looks like.
_STUBBORN = (
    "import os, signal, subprocess, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('ready', flush=True)\n"
    "time.sleep(600)\n"
)


def start(run_id: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", _STUBBORN],
        env={**os.environ, RUN_ID: run_id},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_stubborn_processes_of_one_run_are_ended_and_no_others():
    mine, other = uuid.uuid4().hex, uuid.uuid4().hex
    first, second, bystander = start(mine), start(mine), start(other)
    try:
        assert {process.pid for process in processes_of(mine)} == {first.pid, second.pid}
        assert end_processes(mine, grace=0.2) == 2
        first.wait(5)
        second.wait(5)
        assert bystander.poll() is None
        assert processes_of(mine) == []
    finally:
        for process in (first, second, bystander):
            process.kill()
            process.wait()


def test_no_process_is_no_wait():
    started = time.monotonic()
    assert end_processes(uuid.uuid4().hex) == 0
    assert time.monotonic() - started < 30
