"""The layers and the absence of import cycles, as pyproject.toml states them for import-linter.

Imports under TYPE_CHECKING and inside functions count. A cycle between two modules is a cycle between siblings at some
level, so the contract about siblings covers all of them.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest
from importlinter import cli

ROOT = Path(__file__).parent.parent
PACKAGES = {"dipo_openrlhf": ROOT / "dipo_openrlhf", "dipo_eval": ROOT / "eval" / "dipo_eval"}
MAX_MODULES_AT_A_ROOT = 6
MAX_LINES = 350


def test_contracts_are_kept(capsys):
    status = cli.lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert status == 0, capsys.readouterr().out


def test_contracts_cover_what_the_architecture_promises():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    by_type = {contract["type"]: contract for contract in contracts}
    assert by_type["acyclic_siblings"]["ancestors"] == ["dipo_openrlhf", "dipo_eval"]
    pairs = {
        (c["source_modules"][0], name)
        for c in contracts
        if c["type"] == "forbidden"
        for name in c["forbidden_modules"]
    }
    assert ("dipo_eval", "dipo_openrlhf") in pairs
    assert ("dipo_openrlhf.launchers", "dipo_openrlhf.openrlhf_patch") in pairs
    assert ("dipo_openrlhf.recipe.schema", "dipo_eval") in pairs


def test_every_package_has_a_layer():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [
        name
        for c in contracts
        if c["type"] == "layers"
        for layer in c["layers"]
        for name in layer.split(" | ")
    ]
    without_imports = {"dipo_openrlhf.recipes"}
    for name, folder in PACKAGES.items():
        found = {f"{name}.{path.parent.name}" for path in folder.glob("*/__init__.py")}
        assert found - set(layers) - without_imports == set()


def test_the_algorithm_imports_torch_alone():
    graph = grimp.build_graph("dipo_openrlhf", include_external_packages=True, cache_dir=None)
    modules = {name for name in graph.modules if name.startswith("dipo_openrlhf.algorithm")}
    imported = {name for module in modules for name in graph.find_modules_directly_imported_by(module)}
    outside = {name for name in imported - modules if name.split(".")[0] not in sys.stdlib_module_names}
    assert outside == {"torch"}


def test_the_recipe_schema_imports_nothing_of_ours():
    graph = grimp.build_graph("dipo_openrlhf", "dipo_eval", cache_dir=None)
    assert graph.find_modules_directly_imported_by("dipo_openrlhf.recipe.schema") == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_few_modules_stand_at_a_root(package):
    assert len(list(PACKAGES[package].glob("*.py"))) <= MAX_MODULES_AT_A_ROOT


def test_no_file_is_too_long():
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in PACKAGES.values()
        for path in folder.rglob("*")
        if path.suffix in (".py", ".js", ".css", ".j2")
        and (lines := len(path.read_text().splitlines())) > MAX_LINES
    }
    assert long == {}


def test_tests_use_public_names():
    """No `from x import _y`, no `module._y`, and no path of one for monkeypatch."""
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for line, name in _private_names(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


def _private_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    ours: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
            for alias in node.names:
                ours.add(alias.asname or alias.name)
                if alias.name.startswith("_"):
                    yield node.lineno, f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            ours |= {
                alias.asname for alias in node.names if alias.asname and alias.name.split(".")[0] in PACKAGES
            }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_private(node.attr) and isinstance(node.value, ast.Name):
            if node.value.id in ours:
                yield node.lineno, f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            parts = node.value.split(".")
            if parts[0] in PACKAGES and len(node.value.split()) == 1 and any(map(_is_private, parts)):
                yield node.lineno, node.value
        elif isinstance(node, ast.Call) and len(node.args) > 1 and ast.unparse(node.func).endswith("setattr"):
            target, name = node.args[:2]
            known = isinstance(target, ast.Name) and target.id in ours
            if known and isinstance(name, ast.Constant) and _is_private(str(name.value)):
                yield node.lineno, f"{ast.unparse(target)}.{name.value}"


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")
