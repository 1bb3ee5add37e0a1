"""What holds for the package: it imports torch alone, no code outside methods/ knows a method, the docs are complete."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

import dipo_openrlhf
from dipo_openrlhf import algorithm
from dipo_openrlhf.algorithm import DipoConfig, methods

ROOT = Path(dipo_openrlhf.__file__).parents[1]
PACKAGE = Path(algorithm.__file__).parent
DOCS = (ROOT / "docs" / "algorithm.md").read_text()
NAMES = methods.names()  # at import: end-to-end tests beside this one may drop a file in


def trees(folder: Path) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(folder.rglob("*.py")):
        yield path, ast.parse(path.read_text())


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield node.module or ""


def test_it_imports_torch_and_the_standard_library_alone() -> None:
    allowed = {*sys.stdlib_module_names, "torch"}
    found = list(trees(PACKAGE))
    assert len(found) > 15
    for path, tree in found:
        others = [name for name in imported(tree) if name.split(".")[0] not in allowed]
        assert [name for name in others if not name.startswith("dipo_openrlhf.algorithm")] == [], path


def test_no_code_outside_its_file_tests_a_method_s_name() -> None:
    for path, tree in trees(PACKAGE.parent):
        for node in ast.walk(tree):
            found: list[object] = []
            if isinstance(node, ast.Compare) and path.parent.name != "methods":
                compared = [part for one in (node.left, *node.comparators) for part in ast.walk(one)]
                found = [part.value for part in compared if isinstance(part, ast.Constant)]
                if any(isinstance(part, ast.Tuple) for part in compared):
                    found = [name for name in found if name != "dipo"]  # a section of the recipe, too
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "methods.get":
                found = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            assert set(NAMES).isdisjoint(found), f"{path}:{getattr(node, 'lineno', 0)}"


def test_every_switch_is_documented_with_its_default() -> None:
    table = DOCS.partition("## Open points and their switches")[2].partition("\n## ")[0]
    found = dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", table, re.MULTILINE))
    defaults = {field.name: str(field.default).replace("True", "true") for field in fields(DipoConfig)}
    assert found == {key: value.replace("False", "false") for key, value in defaults.items()}


@pytest.mark.parametrize("key", sorted(DipoConfig.CHOICES))
def test_every_choice_of_a_switch_is_documented(key: str) -> None:
    (row,) = re.findall(rf"^\| `{key}` \|.*$", DOCS, re.MULTILINE)
    default, others = (cell.strip() for cell in row.split("|")[2:4])
    assert {default, *others.split(", ")} == set(DipoConfig.CHOICES[key])


def test_every_method_and_its_source_are_documented() -> None:
    table = DOCS.partition("## Other methods")[2]
    for name in NAMES:
        method = methods.get(name)
        assert method.source in (DOCS if method.reallocates else table), name
        assert method.reallocates or f"| `{name}` |" in table


def test_every_function_that_the_docs_name_exists() -> None:
    named = re.findall(r"\| ([\w/]+\.py): (`.*?`) \|$", DOCS, re.MULTILINE)
    assert len(named) >= 8
    for file, functions in named:
        tree = ast.parse((PACKAGE / file).read_text())
        defined = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        assert set(re.findall(r"`(\w+)`", functions)) <= defined, file
