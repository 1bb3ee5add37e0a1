"""What a Ray job takes along: of the current folder what upload_choice.py chooses, and this project's own code.

Ray has rules of its own for what it packs, and follows links. So it is handed a folder that holds exactly the listed
files, and is asked beforehand what it would pack of it.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dipo_eval
import dipo_openrlhf
from dipo_eval.errors import UserError
from dipo_eval.secrets.refusing import refuse_secrets
from dipo_eval.secrets.values import Secrets
from dipo_openrlhf.launchers import upload_choice
from dipo_openrlhf.launchers.upload_content import find_key
from dipo_openrlhf.launchers.upload_names import holds_data

# Ray refuses more (ray/_private/runtime_env/packaging.py:39); the zipped size counts there, the plain one here.
LIMIT = 500 * 2**20
_OUR_FILES = frozenset({".py", ".pyi", ".typed", ".yaml", ".j2", ".css", ".js", ".html", ".json"})


@dataclass(frozen=True)
class Upload:
    """Files of one folder, relative to it, with their sizes in bytes; and what stays here, with the reason."""

    root: Path
    files: dict[str, int]
    left_out: dict[str, str] = field(default_factory=dict)
    named: frozenset[str] = frozenset()  # files that travel because the recipe or --include names them

    @property
    def size(self) -> int:
        return sum(self.files.values())


def code_folders() -> list[Path]:
    """This project's packages: the job runs the code that submitted it, whatever the cluster's image holds."""
    return [Path(package.__file__ or "").parent for package in (dipo_openrlhf, dipo_eval)]


def own_code() -> list[Upload]:
    """The packages as they are installed here: files of the kinds that a package holds."""
    return [_own_files(folder) for folder in code_folders()]


def _own_files(root: Path) -> Upload:
    files = {
        path.relative_to(root).as_posix(): path.stat().st_size
        for path in sorted(root.rglob("*"))
        if _is_ours(path, root)
    }
    return Upload(root, files)


def _is_ours(path: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(root).parts)
    known = path.suffix in _OUR_FILES or path.name == "py.typed"
    return known and not hidden and path.is_file() and path.resolve().is_relative_to(root.resolve())


def chosen_files(
    root: Path, named: Sequence[tuple[str, str]], exclude: Sequence[str], include: Sequence[str]
) -> Upload:
    """What travels of a folder. Raises UserError: see upload_choice.choose."""
    choice = upload_choice.choose(root, named, exclude, include)
    return Upload(choice.root, choice.files, choice.left_out, frozenset(choice.named))


def check_upload(upload: Upload, secrets: Secrets, *, is_ours: bool = False) -> None:
    """Raise UserError for an upload that is too large, or a file with a key in it: its name and line, never the key."""
    if upload.size > LIMIT:
        largest = sorted(upload.files, key=lambda name: -upload.files[name])[:3]
        shown = ", ".join(f"{name} ({upload.files[name] / 2**20:.0f} MiB)" for name in largest)
        raise UserError(
            f"{upload.root}: {upload.size / 2**20:.0f} MiB to send, more than {LIMIT // 2**20}: leave out with "
            f"--exclude, or name files on shared storage by absolute paths; the largest: {shown}"
        )
    for name in upload.files:
        data = (upload.root / name).read_bytes()
        refuse_secrets(str(upload.root / name), data, secrets)
        found = None if is_ours else find_key(name, data, is_data=name in upload.named and holds_data(name))
        if found:
            raise UserError(
                f"{name}:{found[0]}: looks like a key ({found[1]}), and nothing was sent: take it out, leave the file "
                "out with --exclude, or mark the line `pragma: allowlist secret` where it is none"
            )


@contextlib.contextmanager
def staged(uploads: Sequence[Upload]) -> Iterator[list[Path]]:
    """Folders that hold exactly the listed files, for Ray to pack; removed at the end.

    Raises UserError where a file has gone meanwhile, or where Ray would not pack all of them.
    """
    with tempfile.TemporaryDirectory(prefix="dipo_upload_") as scratch:
        folders = []
        for number, upload in enumerate(uploads):
            folder = Path(scratch, str(number), upload.root.name)
            folder.mkdir(parents=True)
            for name in upload.files:
                _copy(upload.root / name, folder / name)
            if missing := sorted(upload.files.keys() - packed_by_ray(folder)):
                raise UserError(
                    f"{missing[0]}: Ray packs no file of this name: rename it, or use an absolute path"
                )
            folders.append(folder)
        yield folders


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copy2(source, target)
    except OSError as error:
        raise UserError(f"{source}: cannot be read any more ({error.strerror}): nothing was sent") from None


def packed_by_ray(folder: Path) -> set[str]:
    """The files that Ray's own packaging takes of a folder, with the excludes that it adds by itself."""
    from ray._private.ray_constants import get_runtime_env_default_excludes
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    found: set[str] = set()

    def note(path: Path) -> None:
        if path.is_file():
            found.add(path.relative_to(folder).as_posix())

    excludes = [_get_excludes(folder, get_runtime_env_default_excludes())]
    quiet = logging.getLogger("dipo.upload")
    quiet.setLevel(logging.CRITICAL)  # Ray logs each ignore file, and what a handler raises
    _dir_travel(folder, excludes, note, include_gitignore=True, logger=quiet)
    return found
