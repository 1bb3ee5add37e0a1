"""A driver that imports while the recipe is checked: it gets the plan, or ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from dipo_openrlhf.openrlhf_patch.cpu import changes, fork_server
from dipo_openrlhf.run import early

# In the place of the real driver, which imports for seconds.
DRIVER = """
import json, os, sys
print("imported", flush=True)
told = json.loads(sys.stdin.readline())
print(told["plan"], os.environ["DIPO_RUN_ID"], flush=True)
"""
PLAN = Path("plan.json")


@pytest.fixture(autouse=True)
def small_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early, "is_cpu_build", lambda: True)
    monkeypatch.setattr(early, "usable_cores", lambda: 2)
    monkeypatch.setattr(
        early, "command_of", lambda module, argument: [sys.executable, "-c", DRIVER, argument]
    )


def test_it_gets_the_plan_and_what_it_has_said_is_in_the_runs_log(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    with early.early_driver() as driver:
        waiting = driver.process
        wait_for(driver.log, "imported")
        found = early.start_driver(early.DRIVER, PLAN, log, changes.environment(2), driver)
        assert found == (waiting, driver.run_id)
        assert waiting.wait(20) == 0
        assert driver.log.read_text().split() == ["imported", "plan.json", driver.run_id]
    assert log.read_text() == "imported\n"


def test_it_goes_offline_with_the_preflight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in early.ADDED:
        monkeypatch.delenv(name, raising=False)
    with early.early_driver() as driver:
        for name in early.ADDED:
            monkeypatch.setenv(name, "1")
        found = early.start_driver(early.DRIVER, PLAN, tmp_path / "log", changes.environment(2), driver)
        assert found is not None
        assert found[1] == driver.run_id


def test_without_a_plan_it_is_ended(tmp_path: Path) -> None:
    with early.early_driver() as driver:
        pid = driver.process.pid
        wait_for(driver.log, "imported")
    assert not psutil.pid_exists(pid)
    assert not driver.log.exists()


@pytest.mark.parametrize(
    ("module", "threads", "ended", "changed"),
    [
        ("another", 2, False, False),
        (early.DRIVER, 1, False, False),
        (early.DRIVER, 2, True, False),
        (early.DRIVER, 2, False, True),
    ],
    ids=["of another driver", "of other threads", "ended", "of a changed environment"],
)
def test_a_run_that_cannot_use_it_starts_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, threads: int, ended: bool, changed: bool
) -> None:
    with early.early_driver() as driver:
        unused = driver.process
        if ended:
            driver.process.kill()
            driver.process.wait()
        if changed:
            monkeypatch.setenv("HF_HOME", "changed meanwhile")
        process, run_id = early.start_driver(
            module, PLAN, tmp_path / "log", changes.environment(threads), driver
        )
        assert process is not unused
        assert run_id != driver.run_id
        assert unused.poll() is not None  # it would hold memory as long as the run lasts
        process.communicate(b'{"plan": "told"}\n')
        assert (tmp_path / "log").read_text().split() == ["imported", "told", run_id]


def test_the_second_start_of_a_run_is_its_own(tmp_path: Path) -> None:
    with early.early_driver() as driver:
        first, _ = early.start_driver(early.DRIVER, PLAN, tmp_path / "log", changes.environment(2), driver)
        second, _ = early.start_driver(early.DRIVER, PLAN, tmp_path / "log", changes.environment(2), driver)
        assert second is not first
        for process in (first, second):
            process.communicate(b'{"plan": ""}\n')


def test_none_is_started_where_the_environment_can_use_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early, "is_cpu_build", lambda: False)
    with early.early_driver() as driver:
        assert driver.process is None


def test_none_is_started_where_forks_are_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(fork_server.ENABLED, "0")
    with early.early_driver() as driver:
        assert driver.process is None


def test_the_real_driver_takes_plan_log_and_environment(tmp_path: Path) -> None:
    """Without a plan that it can run: the file is missing."""
    environment = {"GIVEN": "1", early.ADDED[0]: "1"}
    told = {"plan": str(tmp_path / "none.json"), "log": str(tmp_path / "log"), "environment": environment}
    code = (
        "import os, sys, dipo_openrlhf.openrlhf_patch.driver as driver\n"
        "driver.fork_server.preload = lambda: True\n"
        "import huggingface_hub.constants as hub\n"
        "before = hub.HF_HUB_OFFLINE\n"
        "driver.main = lambda plan: print(plan, os.environ['GIVEN'], before, hub.HF_HUB_OFFLINE, flush=True) or 5\n"
        "sys.exit(driver.early())"
    )
    ours = {key: value for key, value in os.environ.items() if key != early.ADDED[0]}
    ours["PYTHONPATH"] = os.pathsep.join(sys.path)
    run = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(told) + "\n",
        text=True,
        capture_output=True,
        env=ours,
    )
    assert (run.returncode, run.stdout) == (5, "")
    assert (tmp_path / "log").read_text() == f"{told['plan']} 1 False True\n"
    run = subprocess.run([sys.executable, "-c", code], input="", text=True, capture_output=True, env=ours)
    assert (run.returncode, run.stdout) == (0, "")  # its parent has ended


def wait_for(log: Path, text: str) -> None:
    import time

    deadline = time.monotonic() + 20
    while text not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
