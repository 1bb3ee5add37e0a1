"""The jail alone: its walls and limits, for root, for a user without rights, and where namespaces are forbidden."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PYTHON = Path("/usr/bin/python3")  # every user may read it
PACKAGE = Path(__file__).resolve().parents[3] / "eval" / "dipo_eval"
SCRIPT = """
import json, os, sys, time
sys.path.append(sys.argv[1])
from dipo_eval.code_runner import jail, walls
limits = jail.Limits()
started = time.monotonic()
choice = None
found = {"walls": None}
try:
    choice = walls.choose(sys.argv[3].split(","), limits, sys.argv[2])
    found = {"walls": choice.walls, "limits": choice.limits}
except walls.NoWallsError as error:
    found["reason"] = str(error)
found["seconds"] = time.monotonic() - started
def run(inmate, seconds=5.0):
    made = jail.run_jailed(inmate, seconds, limits, jail.Place(sys.argv[2], choice.walls))
    return [made.ended, made.output.decode(errors="replace")[:2000], made.detail]
def bomb(descriptor):
    import threading
    for _ in range(40):
        try: os.fork()
        except OSError: pass
        try: threading.Thread(target=time.sleep, args=(60,)).start()
        except RuntimeError: pass
    time.sleep(60)
def linger(descriptor):
    os.close(descriptor)
    time.sleep(60)
if choice and "quick" not in sys.argv:
    found["flood"] = run(lambda d: [os.write(d, b"x" * 10**6) for _ in range(1000)])
    found["sleep"] = run(lambda d: time.sleep(60), 0.5)
    found["kill"] = run(lambda d: os.kill(-1, 9))
    found["bomb"] = run(bomb, 1.0)
    found["linger"] = run(linger)
    found["forged failure"] = run(lambda d: os.write(d, b"F"))
    found["status 3"] = run(lambda d: os._exit(3))
found["threads"] = len(os.listdir("/proc/self/task"))
found["children"] = os.popen("ps -o pid= --ppid %d" % os.getpid()).read().split()
print(json.dumps(found))
"""
FORBID_NAMESPACES = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'


@pytest.fixture
def place(tmp_path: Path) -> Iterator[list[str]]:
    """The arguments of SCRIPT: the code where every user may read it, and an empty folder. A witness must survive."""
    if not PYTHON.exists():
        pytest.skip("needs /usr/bin/python3")
    for folder in (tmp_path, *tmp_path.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    code = tmp_path / "code" / "dipo_eval" / "code_runner"
    code.mkdir(parents=True)
    (code.parent / "__init__.py").touch()
    for file in (PACKAGE / "code_runner").glob("*.py"):
        (code / file.name).write_bytes(file.read_bytes())
    mount_point = tmp_path / "mount"
    mount_point.mkdir()
    mount_point.chmod(0o777)  # a worker's folder is its user's own
    witness = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        yield [str(tmp_path / "code"), str(mount_point)]
        assert witness.poll() is None
        assert list(mount_point.iterdir()) == []
    finally:
        witness.kill()
        witness.wait()


def run(arguments: list[str], user: int | None, before: tuple[str, ...] = ()) -> dict[str, Any]:
    if user is not None and os.getuid() != 0:
        pytest.skip("needs root to become another user")
    done = subprocess.run(
        [*before, str(PYTHON), "-c", SCRIPT, *arguments],
        capture_output=True, text=True, timeout=120, check=False, cwd="/", user=user, group=user,
        extra_groups=[] if user else None, env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def holds(found: dict[str, Any], missing: set[str]) -> None:
    """Every limit but ``missing`` holds, and nothing that an inmate does lasts."""
    assert {name for name, held in found["limits"].items() if not held} == missing
    assert found["flood"][0] == "size"
    assert found["sleep"][0] == "time"
    assert found["kill"][0] == "died"
    assert found["bomb"][0] == "time"
    assert found["linger"][0] == "died"
    assert found["forged failure"][:2] == ["done", "F"]
    assert found["status 3"][0] == "died"
    assert found["threads"] == 1
    assert len(found["children"]) <= 2, found["children"]  # ps itself and its shell


@pytest.mark.parametrize("user", [None, 54321], ids=["ours", "another user"])
@pytest.mark.parametrize("walls", ["namespaces", "landlock", "weak"])
def test_the_jail_holds_for_every_user(place: list[str], user: int | None, walls: str) -> None:
    found = run([*place, walls], user)
    if found["walls"] is None:
        pytest.skip(f"not to be had here: {found['reason']}")
    holds(found, {"files"} if walls == "weak" else set())


@pytest.mark.parametrize("walls", ["namespaces", "landlock", "weak"])
def test_a_user_who_has_many_processes_already_has_jails_all_the_same(place: list[str], walls: str) -> None:
    """The kernel counts processes by user: the limit on them is for users of the jail's own."""
    if os.getuid() != 0:
        pytest.skip("needs root to become another user")
    others = [
        subprocess.Popen(["/bin/sleep", "600"], user=54322, group=54322, extra_groups=[]) for _ in range(8)
    ]
    try:
        found = run([*place, walls, "quick"], 54322)
    finally:
        for other in others:
            other.kill()
            other.wait()
    if found["walls"] is None:
        pytest.skip(f"not to be had here: {found['reason']}")
    assert found["limits"]["processes"]


@pytest.mark.parametrize("user", [None, 54321], ids=["ours", "another user"])
def test_where_namespaces_are_forbidden_landlock_stands_in_and_the_reason_comes_at_once(
    place: list[str], user: int | None
) -> None:
    before = ("unshare", "--user", "--map-root-user", "sh", "-c", FORBID_NAMESPACES, "sh")
    alone = run([*place, "namespaces", "quick"], user, before)
    assert alone["walls"] is None
    assert "sysctl user.max_user_namespaces is 0" in alone["reason"]
    assert alone["seconds"] < 10  # a trial that hangs takes 20
    found = run([*place, "namespaces,landlock"], user, before)
    if found["walls"] is None:
        pytest.skip(f"no Landlock here: {found['reason']}")
    assert found["walls"] == "landlock"
    holds(found, set())
