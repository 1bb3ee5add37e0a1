"""What an engine imports is imported beforehand, and waited for no longer than a part of it takes."""

from __future__ import annotations

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
    """Two parts in the place of vLLM's: each says when it is imported, and the first takes a while after that."""
    for number in (1, 2):
        (tmp_path / f"early_part_{number}.py").write_text(
            f"import pathlib, time\npathlib.Path({str(tmp_path)!r}, 'part_{number}').touch()\ntime.sleep({2 - number})\n"
        )
        sys.modules.pop(f"early_part_{number}", None)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(early, "PARTS", ("early_part_1", "early_part_2"))
    monkeypatch.setattr(early, "POLL", 0.01)
    monkeypatch.setattr(early, "set_engine_env", lambda model: None)
    return tmp_path


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_imports_while_the_body_runs(parts: Path) -> None:
    with early.imported_meanwhile(MODEL, lambda: True):
        wait_for(parts / "part_2")
    assert {"early_part_1", "early_part_2"} <= set(sys.modules)


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


def test_a_package_that_fails_is_left_to_the_engine(parts: Path, capfd: pytest.CaptureFixture[str]) -> None:
    failing = parts / "early_part_1.py"
    failing.write_text(
        failing.read_text().partition("time.sleep")[0] + "raise ImportError('no such library')\n"
    )
    with early.imported_meanwhile(MODEL, lambda: True):
        wait_for(parts / "part_1")
        time.sleep(0.5)
    assert not (parts / "part_2").exists()
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
