"""docs/compare.md's own comparison is one, and its tasks are those there are."""

from __future__ import annotations

import re
from pathlib import Path

from dipo_openrlhf.compare.spec import read_comparison
from dipo_openrlhf.compare.tasks import task_names

TEXT = (Path(__file__).parents[2] / "docs" / "compare.md").read_text(encoding="utf-8")


def test_its_yaml_is_a_comparison(tmp_path):
    (block,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    path = tmp_path / "mine.yaml"
    path.write_text(block)
    found = read_comparison(str(path))
    assert found.entry("dipo_strong").dipo.alpha == 0.3
    assert found.tune is not None


def test_it_lists_every_task():
    section = TEXT[TEXT.index("## Tasks") : TEXT.index("## Finished runs")]
    assert sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == task_names()
