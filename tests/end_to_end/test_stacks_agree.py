"""The reference trainer and the full stack rank three methods alike, with overlapping intervals."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

LIMIT = 3600
ROW = re.compile(r"\| (\w+) \| [\d.]+% \(([\d.]+)% to ([\d.]+)%\)")


def ranking(folder, *options):
    """Entry -> interval of its accuracy in percent, the best first."""
    words = [sys.executable, "-m", "dipo_openrlhf.cli", "compare", "stacks", "--out", str(folder), *options]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = ROW.findall((folder / "table.md").read_text())
    return {name: (float(low), float(high)) for name, low, high in rows}


@pytest.mark.slow
def test_both_stacks_rank_alike_and_end_alike(tmp_path):
    ours = ranking(tmp_path / "reference")
    full = ranking(tmp_path / "openrlhf", "--stack", "openrlhf")
    print(ours, full)
    assert list(ours) == list(full)
    assert len(ours) == 3
    for name, (low, high) in ours.items():
        assert low <= full[name][1]
        assert full[name][0] <= high
