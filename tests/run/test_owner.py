"""One run, one owner: the second start is refused, and what a dead one has left is taken over."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.run.owner import OWNER, owned

HOLD = """
import sys, time
from pathlib import Path
from dipo_openrlhf.run.owner import owned
with owned([Path(sys.argv[1])], print):
    print("held", flush=True)
    time.sleep(60)
"""


def take(*folders: Path, stale_after: float = 60.0) -> list[str]:
    said: list[str] = []
    with owned(list(folders), said.append, stale_after):
        pass
    return said


def hold(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_start_is_refused_with_the_owners_host_and_process(tmp_path):
    process = hold(tmp_path / "run")
    try:
        started = time.monotonic()
        with pytest.raises(
            UserError, match=rf"run: a training runs in it already \(.*, process {process.pid}\): wait"
        ):
            take(tmp_path / "run")
        assert time.monotonic() - started < 5
        with pytest.raises(UserError, match="already"):
            take(tmp_path / "other", tmp_path / "run")
        assert take(tmp_path / "other") == [], "what was held beside it is free again"
    finally:
        process.kill()
        process.wait()
    assert take(tmp_path / "run") == [], "a killed owner is gone at once"


def test_a_checkpoint_folder_elsewhere_is_held_too(tmp_path):
    with owned([tmp_path / "run", tmp_path / "run" / "ckpt", tmp_path / "shared"], print):
        assert {path.parent.name for path in tmp_path.rglob(f"{OWNER}.0")} == {"run", "shared"}
        with pytest.raises(UserError, match="shared: a training runs in it already"):
            take(tmp_path / "new", tmp_path / "shared")


def lease_of_another_host(folder: Path, beat: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{OWNER}.0"
    content = {"host": "node7", "pid": 5, "process": "elsewhere", "state": "held", "beat": beat}
    path.write_text(json.dumps(content).ljust(511) + "\n")
    return path


def test_a_lost_node_is_waited_for_and_taken_over(tmp_path):
    lease_of_another_host(tmp_path / "run")
    (said,) = take(tmp_path / "run", stale_after=1.0)
    assert said.endswith("waiting whether its last owner still lives (node7, process 5), at most 1 s")


def test_a_live_one_on_another_host_is_refused(tmp_path):
    lease_of_another_host(tmp_path / "run")
    timer = threading.Timer(0.5, lease_of_another_host, [tmp_path / "run", 1])
    timer.start()
    with pytest.raises(UserError, match=r"already \(node7, process 5\)"):
        take(tmp_path / "run", stale_after=5.0)
    timer.join()
