"""Try the newest OpenRLHF release before anybody needs it: which of the methods that this project builds on have changed?

    python ci/canary.py [--version X.Y.Z] [--installed]

Installs the release (default: the newest that pip finds) without its dependencies into a scratch environment and reads
its source, so that neither a GPU nor torch is needed. `--installed` reads the packages of this environment instead.
Checked are OVERRIDES of dipo_openrlhf/openrlhf_patch/overrides.py, and what the CHANGES of cpu/changes.py beside it
replace on CPU (in torch, DeepSpeed and vLLM only with `--installed`). An entry has moved where its module, class or
function is gone or takes other parameters. One whose body alone differs from the pinned release is listed as well, to be
read; that is no failure.

Exit status: 0 all as expected, 1 one has moved (file, line and symbol are named), 2 could not be read.
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

from dipo_openrlhf.openrlhf_patch.cpu.changes import CHANGES  # noqa: E402
from dipo_openrlhf.openrlhf_patch.overrides import OPENRLHF_VERSION, OVERRIDES, Override  # noqa: E402

INSTALL_S = 600
Method = ast.FunctionDef | ast.AsyncFunctionDef


class CannotInstallError(Exception):
    """One line: what could not be installed or found."""


@dataclass(frozen=True)
class Found:
    """A symbol in a release's source; parameters: None where it is no function; body: code without comments."""

    file: Path
    line: int
    parameters: tuple[str, ...] | None
    body: str


def expected(package_root: Path) -> list[Override]:
    """What this project expects of the packages under `package_root`."""
    everything = [*OVERRIDES, *(override for change in CHANGES for override in change.overrides)]
    return [
        each for each in everything if (package_root / each.path.partition(":")[0].split(".")[0]).is_dir()
    ]


def find(package_root: Path, override: Override) -> Found | str:
    """The override's symbol in the sources under `package_root`, or what is missing."""
    module, _, qualified = override.path.partition(":")
    # Ray's own attribute of an actor class; the methods are those of the decorated class.
    names = [name for name in qualified.split(".") if name != "__ray_actor_class__"]
    while len(names) > 1 and _file(package_root, f"{module}.{names[0]}").is_file():
        module = f"{module}.{names.pop(0)}"
    return _in_module(package_root, module, names, set())


def _file(root: Path, module: str) -> Path:
    folder = root / module.replace(".", "/")
    return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")


def _in_module(root: Path, module: str, names: list[str], seen: set[tuple[str, str]]) -> Found | str:
    """A function, variable or import of a module; or a method of a class or of its bases, as far as these are here."""
    file = _file(root, module)
    if not file.is_file():
        return f"{file.relative_to(root)}: the file is gone"
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        return f"{file.relative_to(root)}: cannot be read as Python ({error})"
    name = names[0]
    owner = _binding(tree.body, name)
    if owner is None:
        return f"{file.relative_to(root)}: {'the class ' if len(names) > 1 else ''}{name} is gone"
    if len(names) == 1:
        return _found(file.relative_to(root), owner)
    if not isinstance(owner, ast.ClassDef):
        return f"{file.relative_to(root)}:{owner.lineno}: {name} is no class any more"
    member = _binding(owner.body, names[1])
    if member is not None:
        return _found(file.relative_to(root), member)
    for base in owner.bases:
        place = _where(tree, module, base)
        if place is not None and place not in seen:
            seen.add(place)
            found = _in_module(root, place[0], [place[1], names[1]], seen)
            if isinstance(found, Found):
                return found
    return f"{file.relative_to(root)}:{owner.lineno}: {name} has no method {names[1]} any more"


def _binding(body: list[ast.stmt], name: str) -> ast.stmt | None:
    """The statement that defines, assigns or imports `name`, those under `if` and `try` included."""
    for node in body:
        if isinstance(node, ast.ClassDef | Method) and node.name == name:
            return node
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                return node
        imported = node.names if isinstance(node, ast.Import | ast.ImportFrom) else []
        if any((alias.asname or alias.name) == name for alias in imported):
            return node
        for block in (node.body, node.orelse) if isinstance(node, ast.If | ast.Try) else ():
            if (found := _binding(block, name)) is not None:
                return found
    return None


def _found(file: Path, node: ast.stmt) -> Found:
    if isinstance(node, Method):
        return Found(file, node.lineno, _parameters(node), _body(node))
    return Found(file, node.lineno, None, ast.dump(node))


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
    statements = node.body if ast.get_docstring(node) is None else node.body[1:]
    return "\n".join(ast.dump(statement) for statement in statements)


def moved(package_root: Path) -> list[str]:
    """One line for each entry that is not where, or not what, this project expects."""
    lines = []
    for override in expected(package_root):
        found = find(package_root, override)
        if isinstance(found, str):
            lines.append(f"{found} ({override.path}: {override.why})")
        elif override.parameters is not None and found.parameters != override.parameters:
            lines.append(
                f"{found.file}:{found.line}: {override.path} takes {found.parameters}, "
                f"expected {override.parameters} ({override.why})"
            )
    return lines


def changed(package_root: Path, pinned_root: Path) -> list[str]:
    """One line for each entry whose parameters are the same but whose code is not that of the pinned release."""
    lines = []
    for override in expected(package_root):
        new, old = find(package_root, override), find(pinned_root, override)
        if not isinstance(new, Found) or not isinstance(old, Found):
            continue
        if new.parameters == old.parameters and new.body != old.body:
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
        raise CannotInstallError(f"{wanted}: pip did not finish in {INSTALL_S} seconds") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["pip printed nothing"])[-1]
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
        broken, other, checked = moved(root), changed(root, pinned), len(expected(root))
    print(f"OpenRLHF {version}; this project is made for {OPENRLHF_VERSION}")
    for line in broken:
        print(f"moved: {line}")
    for line in other:
        print(f"to be read: {line}")
    print(f"{checked - len(broken)} of {checked} overrides as expected, {len(other)} with other code")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
