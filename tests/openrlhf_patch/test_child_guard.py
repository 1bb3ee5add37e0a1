"""What a killed process had started is ended: also where it has another title, as vLLM's engine core has."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import psutil
import pytest

from dipo_openrlhf.openrlhf_patch.child_guard import started_at

WORKER = """
import subprocess, sys, time
from dipo_openrlhf.openrlhf_patch.child_guard import guard_children
code = "import setproctitle, time; setproctitle.setproctitle('VLLM::EngineCore'); print('up', flush=True); time.sleep(90)"
children = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(2)]
for child in children:
    child.stdout.readline()
guard = guard_children([children[0].pid])
print(children[0].pid, children[1].pid, guard.pid, flush=True)
time.sleep(90)
"""


def wait_until_gone(pid: int, limit: float = 60) -> None:
    deadline = time.monotonic() + limit
    while started_at(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"{pid} still runs"
        time.sleep(0.05)


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_its_children_end_with_a_killed_process(sent):
    worker = subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    guarded, other, guard = (int(word) for word in worker.stdout.readline().split())
    try:
        assert "VLLM::EngineCore" in psutil.Process(guarded).cmdline()[0]
        worker.send_signal(sent)
        worker.wait(20)
        wait_until_gone(guarded)
        wait_until_gone(guard)
        assert psutil.Process(other).is_running(), "the control: an orphan lives"
    finally:
        psutil.Process(other).kill()


def test_another_process_of_the_same_number_lives():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        guard = [sys.executable, "-m", "dipo_openrlhf.openrlhf_patch.child_guard", f"{process.pid}:1"]
        subprocess.run(guard, stdin=subprocess.DEVNULL, timeout=60, check=True)
        assert process.poll() is None
        process.kill()
