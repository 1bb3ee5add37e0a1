"""A step of a Slurm job: its command and all of its children outlive SIGTERM, and the script is told."""

from __future__ import annotations

import signal
import subprocess
import sys

import psutil
import pytest

STEP = [sys.executable, "-m", "dipo_openrlhf.launchers.slurm_step"]
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"])
time.sleep(60)
"""


def test_sigterm_ends_nothing_of_it_and_the_script_is_told_once():
    script = subprocess.Popen(
        ["bash", "-c", "trap 'echo told' USR1; for _ in $(seq 100); do sleep 0.1; done"],
        stdout=subprocess.PIPE,
        text=True,
    )
    step = subprocess.Popen(
        [*STEP, "--tell", str(script.pid), sys.executable, "-c", PARENT], stdout=subprocess.PIPE
    )
    assert step.stdout is not None
    assert step.stdout.readline() == b"up\n"
    tree = [psutil.Process(step.pid), *psutil.Process(step.pid).children(recursive=True)]
    assert len(tree) == 3
    try:
        for _ in range(2):
            for process in tree:  # as Slurm does, which signals all of a step's processes
                process.send_signal(signal.SIGTERM)
        assert script.communicate(timeout=60)[0] == "told\n"
        assert all(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in tree)
    finally:
        for process in tree:
            process.kill()
        step.wait(10)


def test_sigterm_that_was_ignored_tells_the_script_and_is_not_ignored_by_the_command():
    code = "import signal; print(signal.getsignal(signal.SIGTERM).name, flush=True); signal.pause()"
    script = subprocess.Popen(
        ["bash", "-c", "trap 'echo told; exit' USR1; for _ in $(seq 100); do sleep 0.1; done"],
        stdout=subprocess.PIPE,
        text=True,
    )
    step = subprocess.Popen(
        ["bash", "-c", 'trap "" TERM; exec "$@"', "bash", *STEP, "--tell", str(script.pid), sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert step.stdout is not None
    try:
        assert step.stdout.readline() == "SIG_DFL\n"
        step.send_signal(signal.SIGTERM)
        assert script.communicate(timeout=60)[0] == "told\n"
    finally:
        for process in [*psutil.Process(step.pid).children(recursive=True), step]:
            process.kill()
        step.wait(10)


@pytest.mark.parametrize(("code", "status"), [("pass", 0), ("raise SystemExit(7)", 7)])
def test_its_status_is_the_commands(code, status):
    assert subprocess.run([*STEP, sys.executable, "-c", code], timeout=60).returncode == status


def test_a_killed_command_has_a_shells_status():
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert subprocess.run([*STEP, sys.executable, "-c", code], timeout=60).returncode == 137
