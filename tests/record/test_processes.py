"""Everything a run started ends with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid

import psutil

from dipo_openrlhf.record.processes import RUN_ID, end_processes, processes_of

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


def test_one_that_has_lost_its_environment_is_found_by_its_session():
    """Ray's agents write their title over it."""
    command = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {_STUBBORN!r}], env={{}}); {_STUBBORN}"
    leader = subprocess.Popen(
        [sys.executable, "-c", command],
        env={**os.environ, RUN_ID: "run"},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    bystander = start(uuid.uuid4().hex)
    try:
        assert leader.stdout is not None
        assert [leader.stdout.readline() for _ in range(2)] == [b"ready\n"] * 2
        (child,) = psutil.Process(leader.pid).children()
        assert child not in processes_of("run")
        assert end_processes("run", grace=0.2, session=leader.pid) == 2
        leader.wait(5)
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
        assert bystander.poll() is None
    finally:
        for process in (leader, bystander):
            process.kill()
            process.wait()


def test_no_process_is_no_wait():
    started = time.monotonic()
    assert end_processes(uuid.uuid4().hex) == 0
    assert time.monotonic() - started < 30
