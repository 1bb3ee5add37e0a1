"""`dipo compare` as its users run it: worker processes, killed at random, started again."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

COMMAND = [sys.executable, "-m", "dipo_openrlhf.cli", "compare"]
SPEC = """
tasks: [small]
methods: {grpo: {}, dipo: {}}
budget_tokens: 20000
seeds: {least: 2, step: 1, most: 2}
evaluate: {items: 20, samples: 1, times: 1}
"""
LIMIT = 900
OWN_TASKS = Path(__file__).parents[1] / "compare" / "own_tasks"
# Found by every Python of the comparison: it knows the task of that folder too.
KNOWN = f"""
import wrapt

wrapt.register_post_import_hook(
    lambda module: module.__path__.append({str(OWN_TASKS)!r}), "dipo_openrlhf.compare.tasks"
)
"""


def start(folder, out, workers=2):
    log = (folder / "log").open("ab")
    words = [*COMMAND, str(folder / "spec.yaml"), "--out", str(out), "--workers", str(workers)]
    return subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, env=environment(folder))


def environment(folder):
    (folder / "site").mkdir(exist_ok=True)
    (folder / "site" / "sitecustomize.py").write_text(KNOWN)
    path = os.pathsep.join(filter(None, [str(folder / "site"), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "DIPO_CACHE_DIR": str(folder / "cache")}


@pytest.mark.slow
def test_killed_at_random_it_gives_the_same_table(tmp_path):
    (tmp_path / "spec.yaml").write_text(SPEC)
    begun = time.monotonic()
    whole = start(tmp_path, tmp_path / "whole", workers=1)
    assert whole.wait(LIMIT) == 0, (tmp_path / "log").read_text()[-2000:]
    takes = time.monotonic() - begun
    rng, kills = random.Random(7), 0
    for _ in range(20):
        process = start(tmp_path, tmp_path / "killed")
        try:
            process.wait(rng.uniform(0.2, 0.6) * takes if kills < 4 else LIMIT)
            break
        except subprocess.TimeoutExpired:
            children = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait()
            kills += 1
            _, alive = psutil.wait_procs(children, timeout=30)
            assert not alive  # its workers end with it
    assert process.returncode == 0, (tmp_path / "log").read_text()[-2000:]
    assert kills >= 1
    assert (tmp_path / "killed" / "table.md").read_text() == (tmp_path / "whole" / "table.md").read_text()


def test_it_runs_shows_and_refuses_a_second_one_in_its_folder(tmp_path):
    (tmp_path / "spec.yaml").write_text(SPEC.replace("budget_tokens: 20000", "budget_tokens: 500"))
    first = start(tmp_path, tmp_path / "out")
    try:
        for _ in range(LIMIT):
            if (tmp_path / "out" / "OWNER.0").exists() or first.poll() is not None:
                break
            time.sleep(1)
        words = [*COMMAND, str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "out")]
        second = subprocess.run(
            words, capture_output=True, text=True, timeout=LIMIT, env=environment(tmp_path)
        )
        assert second.returncode == 2
        assert "a comparison runs in it already" in second.stderr
        assert "with --out" in second.stderr
        assert first.wait(LIMIT) == 0, (tmp_path / "log").read_text()[-2000:]
    finally:
        first.kill()
    cells = [json.loads(path.read_text()) for path in (tmp_path / "out" / "cells").rglob("*.json")]
    assert len(cells) == 4
    assert "report.html" in (tmp_path / "log").read_text()
