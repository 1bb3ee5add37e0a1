"""docs/architecture.md names files and functions that exist, and counts them correctly."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ROOTS = (ROOT / "dipo_openrlhf", ROOT / "eval" / "dipo_eval", ROOT)
HOPS = sorted(set(re.findall(r"`([\w/]+\.py):([\w.]+)`", PAGE)))


def defined(tree: ast.Module) -> set[str]:
    found = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            members = [one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
            found |= {f"{node.name}.{one.name}" for one in members}
    return found


@pytest.mark.parametrize(("path", "name"), HOPS, ids=[f"{path}:{name}" for path, name in HOPS])
def test_each_hop_is_a_function(path, name):
    files = [root / path for root in ROOTS if (root / path).is_file()]
    assert files, f"{path} is no file"
    assert any(name in defined(ast.parse(file.read_text(encoding="utf-8"))) for file in files)


def test_hops_are_numbered_as_counted():
    for counted, table in re.findall(r"(\d+) hops.*?\n\n(\|.*?)\n\n", PAGE, re.DOTALL):
        numbers = [int(n) for n in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)]
        assert numbers == list(range(1, int(counted) + 1))
    assert len(re.findall(r"\d+ hops", PAGE)) == 2


def test_changes_take_few_places():
    counts = dict(re.findall(r"^\*\*(.+?)\*\*, (\d+)", PAGE, re.MULTILINE))
    assert len(counts) == 5
    assert all(int(count) <= 6 for count in counts.values())
    table = PAGE.split("**Change how a checkpoint is saved**")[1].split("**Support")[0]
    assert len(re.findall(r"^\| `", table, re.MULTILINE)) == int(counts["Change how a checkpoint is saved"])


def test_every_package_is_on_the_map():
    for root in ROOTS[:2]:
        packages = {path.parent.name for path in root.glob("*/__init__.py")} - {"recipes"}
        assert {name for name in packages if f"`{name}/`" not in PAGE} == set()
