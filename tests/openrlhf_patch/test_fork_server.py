"""Processes that are forks of a server: what they get from the requester, how they end, and who starts one without it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from dipo_openrlhf.openrlhf_patch.cpu import fork_server, forked_worker, local_ray

# A driver: it imports, becomes the owner of a server, and does what it is told for each line of its input.
DRIVER = """
import os, sys
import {preloaded}
from dipo_openrlhf.openrlhf_patch.cpu import fork_server

def double(queue, number):
    queue.put((2 * number, os.environ.get("GIVEN"), "{preloaded}" in sys.modules, os.getppid()))

def unfreezes(queue, number):
    import gc
    gc.unfreeze()
    queue.put((gc.get_freeze_count(),))

def fails():
    sys.exit(3)

if __name__ == "__main__":
    with fork_server.running():
        print(os.environ[fork_server.ADDRESS], flush=True)
        {body}
"""
WAITS = "sys.stdin.read()"
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
WORKER = """
import colorsys, json, os, sys, random
import numpy
print(json.dumps(dict(
    argv=sys.argv[1:], name=__name__, folder=os.getcwd(), given=os.environ.get("GIVEN"), own=os.environ.get("OWN"),
    path=sys.path[0], pid=os.getpid(), parent=os.getppid(), draw=[random.random(), numpy.random.rand()],
)), flush=True)
print("said", file=sys.stderr, flush=True)
import setproctitle
setproctitle.setproctitle("a worker's title")
print(open("/proc/self/cmdline").read().strip(chr(0)), file=sys.stderr, flush=True)
import atexit
atexit.register(print, "at exit", flush=True)
if "--wait" in sys.argv:
    import time
    time.sleep(60)
sys.exit(7)
"""


@pytest.fixture
def driver(tmp_path: Path):
    """A driver that waits, and the address of its server."""
    process = start(WAITS)
    yield process, process.stdout.readline().strip()
    process.stdin.close()
    assert process.wait(20) == 0


def start(body: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER.format(preloaded="numpy", body=body)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


def request(
    tmp_path: Path, address: str, *more: str, context: dict[str, object] | None = None
) -> subprocess.Popen[str]:
    """What a raylet starts."""
    (tmp_path / "default_worker.py").write_text(WORKER)
    runtime = json.dumps(
        {"env_vars": {"GIVEN": "a${OWN}", forked_worker.ADDRESS: address}, **(context or {})}
    )
    arguments = [str(tmp_path / "default_worker.py"), "--node=1", *more]
    arguments += [forked_worker.LANGUAGE + "PYTHON", forked_worker.CONTEXT + runtime]
    return subprocess.Popen(
        [sys.executable, "-I", "-S", forked_worker.__file__, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**ENVIRONMENT, "OWN": "b"},
    )


def test_a_worker_is_a_fork_with_what_the_raylet_gives_it(driver, tmp_path: Path) -> None:
    out, err = request(tmp_path, driver[1]).communicate(timeout=30)
    first, last = out.splitlines()
    found = json.loads(first)
    assert found["argv"] == ["--node=1"]
    assert found["name"] == "__main__"
    assert found["folder"] == found["path"] == str(tmp_path)
    assert (found["given"], found["own"]) == ("ab", "b")
    assert (last, err) == ("at exit", "said\na worker's title\n")
    assert psutil.Process(driver[0].pid).pid == psutil.Process(found["parent"]).ppid()


def test_the_requester_ends_with_the_status_of_its_worker(driver, tmp_path: Path) -> None:
    waiting = request(tmp_path, driver[1])
    assert waiting.wait(30) == 7
    waiting.communicate()


def test_workers_draw_different_random_numbers(driver, tmp_path: Path) -> None:
    outs = [request(tmp_path, driver[1]).communicate(timeout=30)[0] for _ in range(2)]
    draws = [json.loads(out.splitlines()[0])["draw"] for out in outs]
    assert draws[0][0] != draws[1][0]
    assert draws[0][1] != draws[1][1]


def test_ending_the_requester_ends_the_worker(driver, tmp_path: Path) -> None:
    waiting = request(tmp_path, driver[1], "--wait")
    pid = json.loads(waiting.stdout.readline())["pid"]
    waiting.terminate()
    assert waiting.wait(30) == 128 + signal.SIGTERM
    assert not psutil.pid_exists(pid)
    waiting.communicate()


def test_a_killed_worker_ends_its_requester(driver, tmp_path: Path) -> None:
    waiting = request(tmp_path, driver[1], "--wait")
    os.kill(json.loads(waiting.stdout.readline())["pid"], signal.SIGKILL)
    assert waiting.wait(30) == 128 + signal.SIGKILL
    waiting.communicate()


def test_the_server_ends_with_a_killed_driver(tmp_path: Path) -> None:
    process = start(WAITS)
    process.stdout.readline()
    (server,) = psutil.Process(process.pid).children()
    process.kill()
    process.communicate()
    wait_until_ended(server)


def test_the_server_waits_for_its_forks_and_sigterm_ends_them(tmp_path: Path) -> None:
    process = start(WAITS)
    address = process.stdout.readline().strip()
    (server,) = psutil.Process(process.pid).children()
    waiting = request(tmp_path, address, "--wait")
    worker = psutil.Process(json.loads(waiting.stdout.readline())["pid"])
    process.kill()
    process.wait()
    server.terminate()
    time.sleep(0.3)
    assert worker.is_running()
    assert server.is_running()
    worker.terminate()
    wait_until_ended(server)
    process.communicate()
    assert not Path(address).parent.exists()
    waiting.communicate()


@pytest.mark.parametrize(
    ("address", "context"),
    [("/nowhere/server", {}), ("", {"py_executable": "another"}), ("", {"command_prefix": ["nice"]})],
)
def test_without_a_server_ray_starts_the_worker_as_ever(
    driver, tmp_path: Path, address: str, context
) -> None:
    (tmp_path / "setup_worker.py").write_text("import sys; print(sys.argv[1:])")
    waiting = request(tmp_path, address or driver[1], context=context)
    out, _ = waiting.communicate(timeout=30)
    assert waiting.returncode == 0
    assert "default_worker.py" in out
    assert forked_worker.CONTEXT in out


def wait_until_ended(process: psutil.Process) -> None:
    """Or a zombie: of another parent than this process."""
    deadline = time.monotonic() + 20
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


PROCESS = """
        context = fork_server.ForkedContext()
        queue = context.SimpleQueue()
        os.environ["GIVEN"] = "now"
        child = context.Process(target=double, args=(queue, 4))
        child.start()
        print(*queue.get(), child.pid)
        child.join()
        print(child.exitcode, os.getpid())
        child = context.Process(target=fails)
        child.start()
        child.join(20)
        print(child.exitcode, child.is_alive())
"""


def test_what_was_preloaded_is_never_looked_through_for_garbage(tmp_path: Path) -> None:
    """vLLM unfreezes when its engine ends."""
    script = tmp_path / "driver.py"
    body = PROCESS.partition("child.join")[0].replace("target=double", "target=unfreezes")
    script.write_text(DRIVER.format(preloaded="numpy", body=body.strip()))
    run = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, env=ENVIRONMENT
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout.splitlines()[1].split()[0]) > 10_000


def test_a_process_of_the_engine_is_a_fork_with_its_parents_environment(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER.format(preloaded="numpy", body=PROCESS.strip()))
    run = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, env=ENVIRONMENT
    )
    assert run.returncode == 0, run.stderr
    _, first, ended, failed = run.stdout.splitlines()
    number, given, preloaded, parent, pid = first.split()
    assert (number, given, preloaded) == ("8", "now", "True")
    assert parent != ended.split()[1]
    assert int(pid) > 0
    assert ended.split()[0] == "0"
    assert failed == "3 False"


def test_a_raylet_starts_forks_only_where_there_is_a_server() -> None:
    import ray

    setup = Path(ray.__file__).parent / "_private/workers/setup_worker.py"
    command = [
        "raylet",
        f"--python_worker_command={sys.executable} {setup} default_worker.py --x=1",
        "--head",
    ]
    assert local_ray.raylet_command(command, forks=False) == command
    ours = local_ray.raylet_command(command, forks=True)[1]
    assert ours == (
        f"--python_worker_command={sys.executable} -I -S {forked_worker.__file__} default_worker.py --x=1"
    )


def test_a_local_ray_starts_without_a_monitor_and_rays_own_functions_are_back_afterwards() -> None:
    from ray._private import services
    from ray._private.node import Node

    before = (services.start_ray_process, Node.start_monitor)
    with local_ray.commands():
        assert services.start_ray_process is not before[0]
        assert Node.start_monitor is not before[1]
    assert (services.start_ray_process, Node.start_monitor) == before


def test_a_long_folder_of_temporary_files_needs_no_server(tmp_path, monkeypatch):
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    monkeypatch.setattr(fork_server.tempfile, "tempdir", str(folder))
    with fork_server.running():
        assert fork_server.ADDRESS not in os.environ
    assert list(folder.iterdir()) == []
