"""Every source that this project cites exists, in a form that does not age.

Checked are the comments and strings of Python files (of tests: comments and docstrings), and all of *.md, *.yaml, *.yml,
*.sh, *.cfg, *.toml, *.j2 and the Makefile. The forms:

* Code of an installed package: `package/path/file.py, Class.method` or `package/path/file.py, function` (also a class, or
  a constant of the module or class). The path begins with the package, as in site-packages; then a comma, a space, and
  the name, which must be defined in that file: what a class inherits is cited where it is defined. A line break may stand
  after the comma. A second name may follow with `and`: `package/path/file.py, Class.method and Class.other`.
  Where no name fits, the path alone, not followed by a comma and a word.
* A file of this project: its path from the repository's root, or the last parts of it (`openrlhf_patch/windows.py`,
  `windows.py`).
* A file of a repository that is not installed: listed in ELSEWHERE below, with the repository.
* A document: its path from the root or from the citing file's folder (`docs/algorithm.md`), if wanted with a heading of
  it: `docs/algorithm.md, "The rule"`.

Not allowed are line numbers (`file.py:123`, `(:123)`), files that are neither in the repository nor installed, and
numbered sources such as [S4].
"""

from __future__ import annotations

import ast
import io
import re
import sysconfig
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SITE = Path(sysconfig.get_paths()["purelib"])
FOLDERS = ("dipo_openrlhf", "eval", "tests", "benchmarks", "ci", "docs", "launchers")
SUFFIXES = {".py", ".md", ".yaml", ".yml", ".sh", ".cfg", ".toml", ".j2"}

LINE_NUMBER = re.compile(r"[\w/]+\.py:\d+|(?<=[\s(]):\d+\b(?=[\s),.;])")
NOT_INSIDE = r"(?<![\w/.<{*$:-])"  # of a longer name, a pattern or an address
PYTHON_FILE = re.compile(
    NOT_INSIDE + r"(?P<path>(?:[\w.-]+/)*[\w-]+\.py)\b(?!:)"
    r"(?:, (?P<name>[A-Za-z_][\w.]*\w)(?: and (?P<also>[A-Z]\w*\.\w+))?)?"
)
DOCUMENT = re.compile(NOT_INSIDE + r"(?P<path>(?:[\w.-]+/)*[\w-]+\.md)\b(?:, \"(?P<heading>[^\"]+)\")?")
NUMBERED = re.compile(r"\[S\d+\]")

# Placeholders for files of users, and files that a command writes; no citations.
PLACEHOLDER = re.compile(
    r"path/to/.*|\.\.\..*|(.*/)?(NAME|X|X_worker|my_\w+|token|batch)\.py|(.*/)?(gate|table)\.md"
)
# Cited files of repositories that are not installed here.
ELSEWHERE = {
    "evalplus/codegen.py": "evalplus",
    "evaluation/eval/ocwcourses_eval_utils.py": "DeepSeek-Math",
    "ocwcourses_eval_utils.py": "DeepSeek-Math",
    "inspect_ai/scorer/_metric.py": "UKGovernmentBEIS/inspect_ai",
    "provider/base.py": "evalplus",
    "rlla_4k_raw/rlla.py": "ToolRL",
    "src/prime_rl/orchestrator/algo/max_rl.py": "PrimeIntellect-ai/prime-rl",
    "tools/hf_community_evals.py": "every_eval_ever",
    "verl/trainer/ppo/core_algos.py": "tajwarfahim/maxrl, nangongrui-ngr/NGRPO",
    "verl/utils/reward_score/rlla.py": "ToolRL",
}


def sources() -> list[Path]:
    """All files of the project that may cite something, this one excepted."""
    found = [path for path in ROOT.iterdir() if path.suffix in SUFFIXES or path.name == "Makefile"]
    for folder in FOLDERS:
        found += [path for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES and path.is_file()]
    return sorted(
        path for path in found if path != Path(__file__) and "data" not in path.relative_to(ROOT).parts[2:3]
    )


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of what a file says to its reader, line breaks within a paragraph replaced by a space."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield 1, re.sub(r"\n[ #]*(?=\S)", " ", text)
        return
    comment: list[str] = []
    start = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            start = start or token.start[0]
            comment.append(token.string.lstrip("# "))
        elif token.type not in (tokenize.NL, tokenize.NEWLINE) and comment:
            yield start, " ".join(comment)
            comment, start = [], 0
    tree = ast.parse(text)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    in_tests = path.is_relative_to(ROOT / "tests")
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and (id(node) in docstrings or not in_tests)
        ):
            yield node.lineno, re.sub(r"\s*\n\s*", " ", node.value)


@cache
def definitions(path: Path) -> dict[str, ast.AST]:
    """What a Python file defines, by name ("Class", "Class.method", "function", "CONSTANT"), without importing it."""
    found: dict[str, ast.AST] = {}

    def collect(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found[prefix + node.name] = node
                if isinstance(node, ast.ClassDef):
                    collect(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found.update({prefix + each.id: node for each in targets if isinstance(each, ast.Name)})
            elif isinstance(node, ast.If | ast.Try | ast.With):
                collect(node.body, prefix)
                collect(getattr(node, "orelse", []), prefix)
                for handler in getattr(node, "handlers", []):
                    collect(handler.body, prefix)

    collect(ast.parse(path.read_text(encoding="utf-8")).body, "")
    return found


@cache
def own_files() -> tuple[Path, ...]:
    return tuple(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def resolve(cited: str, citing: Path) -> list[Path]:
    """The files that a cited path may be: installed, of the project, or beside the citing file."""
    if "/" in cited and (SITE / cited).is_file():
        return [SITE / cited]
    if (citing.parent / cited).is_file():
        return [citing.parent / cited]
    return [path for path in own_files() if f"/{path.relative_to(ROOT)}".endswith(f"/{cited}")]


def problems(path: Path) -> Iterator[str]:
    """One line for each citation of the file that does not hold."""
    name = path.relative_to(ROOT)
    for line, text in prose(path):
        for match in LINE_NUMBER.finditer(text):
            yield f"{name}:{line}: {match[0]}: cite class and function, not a line number"
        for match in NUMBERED.finditer(text):
            yield f"{name}:{line}: {match[0]}: no such list of sources"
        for match in PYTHON_FILE.finditer(text):
            if match["path"] in ELSEWHERE or PLACEHOLDER.fullmatch(match["path"]):
                continue
            files = resolve(match["path"], path)
            if not files:
                yield f"{name}:{line}: {match['path']}: neither installed nor in the repository"
                continue
            for cited in (match["name"], match["also"]):
                if (
                    cited
                    and not any(cited in definitions(file) for file in files)
                    and SITE in files[0].parents
                ):
                    yield f"{name}:{line}: {match['path']} defines no {cited}"
        for match in DOCUMENT.finditer(text):
            if PLACEHOLDER.fullmatch(match["path"]):
                continue
            document = next(
                (each for each in (ROOT / match["path"], path.parent / match["path"]) if each.is_file()), None
            )
            if document is None:
                yield f"{name}:{line}: {match['path']}: no such document"
            elif match["heading"] and not re.search(
                rf"(?m)^#+ {re.escape(match['heading'])}$", document.read_text()
            ):
                yield f"{name}:{line}: {match['path']} has no heading {match['heading']!r}"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_citation_holds(path: Path) -> None:
    assert not list(problems(path))
