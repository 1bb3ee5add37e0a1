"""Try the newest OpenRLHF release before anybody needs it: which of the methods that this project builds on has moved?

    python ci/canary.py [--version X.Y.Z] [--installed]

Installs the release (default: the newest that pip finds) without its dependencies into a scratch environment and reads
its source, so that neither a GPU nor torch is needed. `--installed` reads the OpenRLHF of this environment instead. A
override has moved where its file, class or method is gone or takes other parameters than
dipo_openrlhf/openrlhf_patch/overrides.py says. A method whose body alone differs from the pinned release is listed as
well, to be read; that is no failure.

Exit status: 0 all overrides as expected, 1 one has moved (file, line and symbol are named), 2 could not be read.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import re
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "eval")]

from dipo_openrlhf.openrlhf_patch.overrides import OPENRLHF_VERSION, OVERRIDES, Override  # noqa: E402

INSTALL_S = 600
Method = ast.FunctionDef | ast.AsyncFunctionDef


class CannotInstallError(Exception):
    """One line: what could not be installed or found."""


@dataclass(frozen=True)
class Found:
    """A method in a release's source; `body` is its code without comments and layout."""

    file: Path
    line: int
    parameters: tuple[str, ...]
    body: str


def find(package_root: Path, override: Override) -> Found | str:
    """The override's method in the sources under `package_root`, or what is missing."""
    module, _, qualified = override.path.partition(":")
    # Ray's own attribute of an actor class; the methods are those of the decorated class.
    *classes, method = [name for name in qualified.split(".") if name != "__ray_actor_class__"]
    return _in_class(package_root, module, classes[0], method, set())


def _in_class(root: Path, module: str, name: str, method: str, seen: set[tuple[str, str]]) -> Found | str:
    """Look in a class and, in order, in its bases as far as their source is in the package."""
    file = root / f"{module.replace('.', '/')}.py"
    if not file.is_file():
        return f"{file.relative_to(root)}: the file is gone"
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        return f"{file.relative_to(root)}: cannot be read as Python ({error})"
    owner = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    if owner is None:
        return f"{file.relative_to(root)}: the class {name} is gone"
    for node in owner.body:
        if isinstance(node, Method) and node.name == method:
            return Found(file.relative_to(root), node.lineno, _parameters(node), _body(node))
    for base in owner.bases:
        place = _where(tree, module, base)
        if place is not None and place not in seen:
            seen.add(place)
            found = _in_class(root, *place, method, seen)
            if isinstance(found, Found):
                return found
    return f"{file.relative_to(root)}:{owner.lineno}: {name} has no method {method} any more"


def _where(tree: ast.Module, module: str, base: ast.expr) -> tuple[str, str] | None:
    """(module, class) of a base class: imported by name, or of the same file."""
    if not isinstance(base, ast.Name):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == base.id:
                    package = module.rsplit(".", node.level)[0] if node.level else ""
                    source = ".".join(part for part in (package, node.module or "") if part)
                    return (source, alias.name)
    return (module, base.id)


def _parameters(node: Method) -> tuple[str, ...]:
    """Names in the order of inspect.signature."""
    a = node.args
    named = [arg.arg for arg in (*a.posonlyargs, *a.args)]
    named += [a.vararg.arg] if a.vararg else []
    named += [arg.arg for arg in a.kwonlyargs]
    return tuple(named + ([a.kwarg.arg] if a.kwarg else []))


def _body(node: Method) -> str:
    statements = node.body
    first = statements[0]
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        statements = statements[1:]
    return "\n".join(ast.dump(statement) for statement in statements)


def moved(package_root: Path) -> list[str]:
    """One line for each override that is not where, or not what, this project expects."""
    lines = []
    for override in OVERRIDES:
        found = find(package_root, override)
        if isinstance(found, str):
            lines.append(f"{found} ({override.path}: {override.why})")
        elif found.parameters != override.parameters:
            lines.append(
                f"{found.file}:{found.line}: {override.path} takes {found.parameters}, "
                f"expected {override.parameters} ({override.why})"
            )
    return lines


def changed(package_root: Path, pinned_root: Path) -> list[str]:
    """One line for each override whose parameters are the same but whose code is not that of the pinned release."""
    lines = []
    for override in OVERRIDES:
        new, old = find(package_root, override), find(pinned_root, override)
        if (
            isinstance(new, Found)
            and isinstance(old, Found)
            and new.parameters == old.parameters
            and new.body != old.body
        ):
            lines.append(
                f"{new.file}:{new.line}: {override.path} has other code than in {OPENRLHF_VERSION} ({override.why})"
            )
    return lines


def install(version: str | None, scratch: Path) -> tuple[Path, str]:
    """(folder that holds the package, version) of a release installed into `scratch`. Raises CannotInstallError."""
    environment = scratch / "venv"
    if not (environment / "bin" / "python").exists():
        venv.create(environment, with_pip=True)
    wanted = f"openrlhf=={version}" if version else "openrlhf"
    target = scratch / (version or "newest")
    command = [
        str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--target", str(target), wanted,
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        raise CannotInstallError(f"{wanted}: pip was not done after {INSTALL_S} seconds") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise CannotInstallError(f"{wanted}: {last}")
    return target, _version_of(target)


def installed() -> tuple[Path, str]:
    """The same of this environment's OpenRLHF, without importing it. Raises CannotInstallError."""
    spec = importlib.util.find_spec("openrlhf")
    if spec is None or not spec.submodule_search_locations:
        raise CannotInstallError("openrlhf: not installed here: run make setup, or leave out --installed")
    root = Path(next(iter(spec.submodule_search_locations))).parent
    return root, _version_of(root)


def _version_of(root: Path) -> str:
    names = [
        re.fullmatch(r"openrlhf-(.+)\.dist-info", path.name) for path in root.glob("openrlhf-*.dist-info")
    ]
    return next((name[1] for name in names if name), "of unknown version")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", help="A release instead of the newest.")
    parser.add_argument("--installed", action="store_true", help="Read this environment's OpenRLHF.")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="openrlhf-canary-") as scratch:
        try:
            root, version = installed() if args.installed else install(args.version, Path(scratch))
            pinned = root if version == OPENRLHF_VERSION else install(OPENRLHF_VERSION, Path(scratch))[0]
        except CannotInstallError as error:
            print(f"canary: {error}", file=sys.stderr)
            return 2
        broken, other = moved(root), changed(root, pinned)
    print(f"OpenRLHF {version}; this project is made for {OPENRLHF_VERSION}")
    for line in broken:
        print(f"moved: {line}")
    for line in other:
        print(f"to be read: {line}")
    print(
        f"{len(OVERRIDES) - len(broken)} of {len(OVERRIDES)} overrides as expected, {len(other)} with other code"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
