"""What a killed process had started is ended: also where it has another title, as vLLM's engine core has."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from dipo_openrlhf.openrlhf_patch.child_guard import started_at
from dipo_openrlhf.record.processes import processes_of

MARK = "DIPO_GUARD_TEST"

WORKER = """
import subprocess, sys, time
from dipo_openrlhf.openrlhf_patch.child_guard import ChildGuard
code = "import setproctitle, time; setproctitle.setproctitle('VLLM::EngineCore'); print('up', flush=True); time.sleep(90)"
children = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(2)]
for child in children:
    child.stdout.readline()
guard = ChildGuard()
guard.add([children[0].pid])
print(children[0].pid, children[1].pid, flush=True)
time.sleep(90)
"""


STARTING = """
import multiprocessing, os, sys, time
from dipo_openrlhf.openrlhf_patch.child_guard import ChildGuard

if __name__ == "__main__":
    guard = ChildGuard()
    context = multiprocessing.get_context("{method}")
    with guard.of_new_processes():
        child = context.Process(target=time.sleep, args=(90,))
        child.start()
        print(child.pid, flush=True)
        child.join()  # as vLLM waits for its engine core
"""


def start(*arguments: str) -> tuple[Any, ...]:
    """(mark, process, the numbers that it prints): its children inherit the mark."""
    mark = uuid.uuid4().hex
    worker = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, text=True, env={**os.environ, MARK: mark}
    )
    assert worker.stdout is not None
    return mark, worker, *map(int, worker.stdout.readline().split())


def guards_of(mark: str) -> list[psutil.Process]:
    return [
        process for process in processes_of(mark, MARK) if "child_guard.py" in " ".join(process.cmdline())
    ]


def wait_until(condition: Callable[[], bool], limit: float = 60) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_gone(pid: int) -> bool:
    return not started_at(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_its_children_end_with_a_killed_process(sent):
    mark, worker, guarded, other = start("-c", WORKER)
    assert len(guards_of(mark)) == 1
    assert len(psutil.Process(worker.pid).children()) == 2, (
        "a guard that is a child: Ray's worker would end it first"
    )
    try:
        assert "VLLM::EngineCore" in psutil.Process(guarded).cmdline()[0]
        worker.send_signal(sent)
        worker.wait(20)
        wait_until(lambda: is_gone(guarded))
        wait_until(lambda: not guards_of(mark))
        assert psutil.Process(other).is_running(), "the control: an orphan lives"
    finally:
        psutil.Process(other).kill()


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_a_process_that_is_being_started_ends_with_its_killed_parent(method, tmp_path):
    (tmp_path / "starting.py").write_text(STARTING.format(method=method))
    _, worker, child = start(str(tmp_path / "starting.py"))
    worker.kill()
    worker.wait(20)
    wait_until(lambda: is_gone(child))


SHARING = """
import multiprocessing, psutil, sys, time
from multiprocessing.shared_memory import SharedMemory
from dipo_openrlhf.openrlhf_patch.child_guard import ChildGuard

def share(ready):
    memory = SharedMemory(create=True, size=1000)
    ready.put(memory.name)
    time.sleep(90)

if __name__ == "__main__":
    guard = ChildGuard()
    context = multiprocessing.get_context("spawn")
    ready = context.Queue()
    with guard.of_new_processes():
        child = context.Process(target=share, args=(ready,))
        child.start()
    name = ready.get()
    guard.add(each.pid for each in psutil.Process().children(recursive=True))
    print(name, flush=True)
    child.join()
"""


def test_the_shared_memory_of_what_is_killed_is_freed(tmp_path):
    (tmp_path / "sharing.py").write_text(SHARING)
    worker = subprocess.Popen([sys.executable, tmp_path / "sharing.py"], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    segment = Path("/dev/shm", worker.stdout.readline().strip())
    assert segment.is_file()
    worker.kill()
    worker.wait(20)
    wait_until(lambda: not segment.exists())


FORKING = """
import multiprocessing, sys, time
from dipo_openrlhf.openrlhf_patch.child_guard import ChildGuard

def nested():
    context.Process(target=print, args=("grandchild",), daemon=False).start()

if __name__ == "__main__":
    guard = ChildGuard()
    context = multiprocessing.get_context("fork")
    with guard.of_new_processes():
        child = context.Process(target=nested)
        child.start()
        child.join()
        sys.exit(child.exitcode)
"""


def test_a_guarded_fork_may_start_processes_too(tmp_path):
    (tmp_path / "forking.py").write_text(FORKING)
    done = subprocess.run(
        [sys.executable, tmp_path / "forking.py"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "grandchild\n", "")


def test_without_a_guard_all_else_goes_on(tmp_path):
    killed = FORKING.replace(
        "    context =",
        "    from dipo_openrlhf.record.processes import processes_of\n"
        f"    found = processes_of(sys.argv[1], '{MARK}')\n"
        "    (process,) = [one for one in found if 'child_guard.py' in one.cmdline()[-1]]\n"
        "    process.kill()\n    process.wait(20)\n    context =",
    )
    (tmp_path / "killed.py").write_text(killed)
    mark = uuid.uuid4().hex
    done = subprocess.run(
        [sys.executable, tmp_path / "killed.py", mark], capture_output=True, text=True, timeout=60,
        env={**os.environ, MARK: mark},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the guard of vLLM's processes has ended" in done.stdout
    assert "grandchild" in done.stdout


def test_another_process_of_the_same_number_lives():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        guard = [sys.executable, "-m", "dipo_openrlhf.openrlhf_patch.child_guard"]
        names = f"{process.pid}:1\n{process.pid}:\n{process.pid}"
        # It ends when its output does: what was started returns at once.
        subprocess.run(guard, input=names, text=True, timeout=60, check=True, capture_output=True)
        assert process.poll() is None
        process.kill()
