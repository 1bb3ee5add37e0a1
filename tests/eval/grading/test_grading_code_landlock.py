"""The whole of code grading where namespaces are forbidden, as in most containers: Landlock stands in."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

helpers = runpy.run_path(str(Path(__file__).parents[1] / "code_helpers.py"))
SYSTEM_PYTHON = Path("/usr/bin/python3.11")  # one that a user without rights can read
FORBID_NAMESPACES = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_hostile_program_is_held_without_namespaces(tmp_path: Path) -> None:
    if not SYSTEM_PYTHON.exists():
        pytest.skip(f"needs {SYSTEM_PYTHON}")
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    place = tmp_path / "evalplus"
    subprocess.run([SYSTEM_PYTHON, "-m", "venv", "--without-pip", place], check=True)
    packages = Path("lib", "python3.11", "site-packages")
    shutil.copytree(helpers["python"]().parent.parent / packages, place / packages, dirs_exist_ok=True)
    environment = {**os.environ, "DIPO_EVALPLUS_PYTHON": str(place / "bin" / "python")}
    tests = Path(__file__).with_name("test_grading_code_hostile.py")
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", FORBID_NAMESPACES, "sh", sys.executable, "-m", "pytest",
         "-q", "-rs", "-p", "no:cacheprovider", str(tests)],
        capture_output=True, text=True, env=environment, cwd=tests.parents[2], timeout=800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert "skipped" not in done.stdout, done.stdout[-2000:]
