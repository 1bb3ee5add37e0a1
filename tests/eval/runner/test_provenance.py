"""The hash of a suite: every change of what decides a verdict or a prompt is seen, and nothing else."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import re
import shutil
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import dipo_eval
from dipo_eval.runner.provenance import code_hash, deciding_modules
from dipo_eval.suites import all_suites, get_suites

MATH = (
    "aime24", "aime25", "amc23", "arithmetic-control", "gsm8k", "gsm8k-5shot", "math500", "minerva", "olympiadbench",
)  # fmt: skip
BFCL = ("bfcl", "bfcl-basic", "bfcl-heldout", "bfcl-native")
CALLS = (*BFCL, "tools-control")
CODE = ("humaneval+", "mbpp+")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, changed and restored by the tests."""
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(
        shutil.copytree(dipo_eval.__path__[0], tmp_path_factory.mktemp("copy") / "dipo_eval", ignore=ignored)
    )


def hashes(root: Path) -> dict[str, str]:
    return {name: code_hash(suite, root) for name, suite in all_suites().items()}


@pytest.fixture(scope="module")
def before(root: Path) -> dict[str, str]:
    return hashes(root)


@contextlib.contextmanager
def content(path: Path, text: str) -> Iterator[None]:
    kept = path.read_text(encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(kept, encoding="utf-8")


def changed(root: Path, before: dict[str, str], path: Path, text: str) -> set[str]:
    """The suites whose hash changes when a file has this content."""
    with content(path, text):
        after = hashes(root)
    return {name for name in after if after[name] != before[name]}


def test_the_copy_has_the_hashes_of_the_package(before: dict[str, str]) -> None:
    assert before == {name: code_hash(suite) for name, suite in all_suites().items()}


def test_docstrings_comments_and_layout_change_no_hash(root: Path, before: dict[str, str]) -> None:
    """Every file is rewritten from its tree, without comments and line breaks, with other docstrings."""
    with contextlib.ExitStack() as written:
        for path in root.rglob("*.py"):
            tree = ast.parse(path.read_bytes())
            for node in ast.walk(tree):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    own = node.body[1:] if ast.get_docstring(node) is not None else node.body
                    node.body = [ast.Expr(ast.Constant("Another docstring.")), *own]
            written.enter_context(
                content(path, f"# a comment\n{ast.unparse(ast.fix_missing_locations(tree))}\n")
            )
        assert hashes(root) == before


@pytest.mark.parametrize(
    ("folder", "pattern", "suites"),
    [
        ("grading/calls", "*.py", CALLS),
        ("suites/bfcl", "dialogue.py", BFCL),
        ("suites/bfcl", "items.py", BFCL),
        ("grading/math", "*.py", MATH),
        ("suites", "math_file.py", MATH),
        ("grading/code", "*.py", CODE),
        ("code_runner", "*.py", CODE),
        ("suites", "evalplus.py", CODE),
        ("grading", "verdict.py", (*MATH, *CALLS, *CODE)),
        ("grading", "worker.py", (*MATH, *CALLS)),
        (".", "linear.py", (*MATH, *CALLS, *CODE)),
        ("suites", "arithmetic_problems.py", ("arithmetic-control",)),
        ("suites", "call_problems.py", ("tools-control",)),
        ("suites", "competitions.py", ()),
        ("suites", "hub.py", ()),
        ("suites", "listing.py", ()),
        ("suites/bfcl", "overall.py", ()),
        ("runner", "*.py", ()),
        ("statistics", "*.py", ()),
        ("results", "*.py", ()),
        ("files", "*.py", ()),
    ],
)
def test_a_change_is_seen_by_exactly_the_suites_that_it_decides(
    root: Path, before: dict[str, str], folder: str, pattern: str, suites: tuple[str, ...]
) -> None:
    for path in (root / folder).glob(pattern):
        if path.name != "__init__.py":
            text = path.read_text(encoding="utf-8")
            assert changed(root, before, path, f"{text}\nADDED = 1\n") == set(suites), path


def test_a_constant_of_the_java_parser_decides_bfcl_alone(root: Path, before: dict[str, str]) -> None:
    (path,) = [
        file for file in (root / "grading" / "calls").glob("*.py") if "_JAVA_ARRAY =" in file.read_text()
    ]
    text, count = re.subn(r"(?m)^MAX_DEPTH = \d+", "MAX_DEPTH = 7", path.read_text(), count=1)
    assert count == 1
    assert changed(root, before, path, text) == set(CALLS)


def test_a_users_program_is_hashed_with_the_graders_that_it_imports(tmp_path: Path, root: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        textwrap.dedent("""
            from dipo_eval.suites import Item, Suite

            def load(data_dir, limit, seed):
                return [Item("one", [{"role": "user", "content": "What is 1 + 1?"}], "2")]

            def grade(response, item):
                from dipo_eval.grading import grade_math
                return grade_math(response, item.gold)

            SUITE = Suite("mine", "here", "Apache-2.0", "accuracy", load, grade)
        """)
    )
    (suite,) = get_suites([str(path)])
    modules = deciding_modules(suite, root)
    assert "grading.math.grade" in modules
    assert not any(name.startswith("grading.calls") for name in modules)
    before, file = code_hash(suite, root), modules["grading.math.grade"]
    with content(file, f"{file.read_text()}\nADDED = 1\n"):
        assert code_hash(suite, root) != before
    assert code_hash(suite, root) == before


def test_hashing_again_takes_no_time() -> None:
    suites = all_suites().values()
    for suite in suites:
        code_hash(suite)
    started = time.monotonic()
    for suite in suites:
        code_hash(suite)
    assert (time.monotonic() - started) / len(suites) < 0.2


@pytest.mark.parametrize(
    ("package", "suites"),
    [("grading", (*MATH, *CALLS, *CODE)), ("grading/math", MATH), ("code_runner", CODE)],
)
def test_code_of_a_packages_init_is_seen(
    root: Path, before: dict[str, str], package: str, suites: tuple[str, ...]
) -> None:
    path = root / package / "__init__.py"
    assert changed(root, before, path, path.read_text(encoding="utf-8") + "\nADDED = 1\n") == set(suites)


USERS = """\
import functools
from dipo_eval.grading import Verdict
from dipo_eval.suites.base import Item, Suite

def load(data_dir, limit, seed):
    return [Item("1", [{{"role": "user", "content": "?"}}], "2")]

class Grade:
    def __call__(self, response, item):
        return Verdict({verdict!r}, "mine")

SUITE = Suite("mine", "mine", "none", "accuracy", functools.lru_cache(load), Grade())
"""


def test_a_users_python_file_counts_whatever_its_grader_is(tmp_path: Path) -> None:
    """A callable object and a cached function have no source file of their own."""
    path = tmp_path / "mine.py"
    seen = set()
    for verdict in ("correct", "wrong"):
        path.write_text(USERS.format(verdict=verdict))
        (suite,) = get_suites([str(path)])
        seen.add(code_hash(suite))
    assert len(seen) == 2


def test_files_of_one_name_both_count(tmp_path: Path) -> None:
    (suite,) = get_suites(["gsm8k"])
    files = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        files.append(tmp_path / folder / "g.yaml")
        files[-1].write_text(folder)
    both = dataclasses.replace(suite, files=tuple(files))
    known = code_hash(both)
    files[0].write_text("changed")
    assert code_hash(both) != known
