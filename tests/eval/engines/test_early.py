"""What an engine imports is imported beforehand, on an idle core, and never waited for."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dipo_eval.engines import early

MODEL = Path("/no/such/model")


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two parts in the place of vLLM's: the first takes a while; each writes the scheduling policy of its thread."""
    for number in (1, 2):
        (tmp_path / f"early_part_{number}.py").write_text(
            "import os, pathlib, time\n"
            f"pathlib.Path({str(tmp_path)!r}, 'part_{number}').write_text(str(os.sched_getscheduler(0)))\n"
            f"time.sleep({2 - number})\n"
        )
        sys.modules.pop(f"early_part_{number}", None)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(early, "PARTS", ("early_part_1", "early_part_2"))
    monkeypatch.setattr(early, "POLL", 0.01)
    monkeypatch.setattr(os, "environ", {**os.environ})
    return tmp_path


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 30
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return path.read_text()


def test_it_imports_when_a_core_is_idle_in_its_thread_alone(parts: Path) -> None:
    before = os.sched_getscheduler(0)
    with early.imported_meanwhile(MODEL, lambda: True):
        assert wait_for(parts / "part_1") == str(os.SCHED_IDLE)
        wait_for(parts / "part_2")
    assert os.sched_getscheduler(0) == before


def test_nothing_is_imported_before_the_other_has_begun(parts: Path) -> None:
    begun = threading.Event()
    with early.imported_meanwhile(MODEL, begun.is_set):
        time.sleep(0.1)
    assert not (parts / "part_1").exists()
    begun.set()
    time.sleep(0.1)
    assert not (parts / "part_1").exists(), "it has ended with the body"


def test_the_end_waits_for_one_part_and_not_for_the_rest(parts: Path) -> None:
    def interrupted() -> None:
        with early.imported_meanwhile(MODEL, lambda: True):
            wait_for(parts / "part_1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not (parts / "part_2").exists()


def test_a_package_that_fails_is_left_to_the_engine(parts: Path) -> None:
    (parts / "early_part_1.py").write_text("raise ImportError('no such library')")
    with early.imported_meanwhile(MODEL, lambda: True):
        time.sleep(0.1)
    assert not (parts / "part_2").exists()


def test_without_an_idle_core_of_its_own_it_imports_nothing(
    parts: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: object) -> None:
        raise PermissionError("not allowed")

    monkeypatch.setattr(os, "sched_setscheduler", refused)
    with early.imported_meanwhile(MODEL, lambda: True):
        time.sleep(0.1)
    assert not (parts / "part_1").exists()
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_the_parts_are_what_an_engine_imports() -> None:
    """All are there, and an engine's own import is quick after them."""
    program = """
import sys, time
from pathlib import Path
from dipo_eval.engines import early

begun = time.monotonic()
with early.imported_meanwhile(Path("/no/such/model"), lambda: True):
    while not all(part in sys.modules for part in early.PARTS) and time.monotonic() < begun + 300:
        time.sleep(0.1)
assert all(part in sys.modules for part in early.PARTS)
before = set(sys.modules)
from vllm import LLM
print(len(before), len(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    imported, added = map(int, done.stdout.split())
    assert added < 0.01 * imported
