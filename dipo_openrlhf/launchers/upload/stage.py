"""What a Ray job takes along: of the current folder what choice.py chooses, and this project's own code.

Ray has rules of its own for what it packs, and follows links. So it gets a folder that holds exactly the listed files,
and its own rules are applied to that folder beforehand.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import dipo_eval
import dipo_openrlhf
from dipo_eval.errors import UserError
from dipo_eval.secrets.masking import mask_text
from dipo_eval.secrets.refusing import held_secret, refuse_secrets
from dipo_eval.secrets.values import Secrets
from dipo_openrlhf.launchers.upload.choice import LINK, Upload
from dipo_openrlhf.launchers.upload.content import find_key
from dipo_openrlhf.launchers.upload.names import holds_data

# Ray refuses more (ray/_private/runtime_env/packaging.py, GCS_STORAGE_MAX_SIZE): it counts zipped bytes, this plain ones.
LIMIT = 500 * 2**20
_OUR_FILES = frozenset({".py", ".pyi", ".typed", ".yaml", ".j2", ".css", ".js", ".html", ".json"})


def own_code() -> list[Upload]:
    """This project's packages as installed here: a job runs the code that submitted it, whatever the cluster's image
    holds. Files of the kinds that a package holds, and no links out of it.
    """
    uploads = []
    for package in (dipo_openrlhf, dipo_eval):
        root = Path(package.__file__ or "").parent
        files = {}
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root)
            hidden = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
            is_inside = path.is_file() and path.resolve().is_relative_to(root.resolve())
            if path.suffix in _OUR_FILES and is_inside and not hidden:
                files[name.as_posix()] = path.stat().st_size
        uploads.append(Upload(root, files, is_ours=True))
    return uploads


def check_upload(upload: Upload, secrets: Secrets) -> Upload:
    """The upload with what has been checked. Raises UserError for one that is too large, or holds a key in a file or a
    name: the place, never the key. What is `checked` already and has not changed is not searched again.
    """
    if upload.size > LIMIT:
        largest = sorted(upload.files, key=lambda name: -upload.files[name])[:3]
        shown = ", ".join(f"{name} ({upload.files[name] / 2**20:.0f} MiB)" for name in largest)
        raise UserError(
            f"{upload.root}: {upload.size / 2**20:.0f} MiB to send, more than {LIMIT // 2**20}: leave out with "
            f"--exclude, or name files on shared storage by absolute paths; the largest: {shown}"
        )
    digests: dict[str, str] = {}
    for name in upload.files:
        _check_name(name, secrets)
        data = _content(upload.root / name)
        digests[name] = hashlib.sha256(data).hexdigest()
        if digests[name] == upload.checked.get(name):
            continue
        refuse_secrets(name, data, secrets)
        if upload.is_ours:
            continue
        is_data = name in upload.named and holds_data(name)
        if found := find_key(name, data, is_data=is_data, is_suspect=name in upload.suspect):
            raise UserError(
                f"{name}:{found[0]}: looks like a key ({found[1]}), and nothing was sent: take it out, leave the file "
                "out with --exclude, or mark the line `pragma: allowlist secret` where it is none"
            )
    return replace(upload, checked=digests)


def _check_name(name: str, secrets: Secrets) -> None:
    written = os.fsencode(name)
    if held := held_secret(written, secrets):
        shown, what = mask_text(name, secrets), f"the value of {held}"
    elif found := find_key("", written, is_data=True):
        shown, what = f"a file whose path has {len(name)} characters", f"what looks like a key ({found[1]})"
    else:
        return
    raise UserError(f"{shown}: its path holds {what}, and nothing was sent: rename the file or the folder")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): nothing was sent") from None


@contextlib.contextmanager
def staged(uploads: Sequence[Upload], secrets: Secrets) -> Iterator[list[Path]]:
    """Folders that hold exactly the listed files, for Ray to pack; removed at the end.

    What has changed since it was checked is checked again, as it is in the copy. Raises UserError as check_upload
    does, and where a file has disappeared, or Ray would not pack all of them.
    """
    with tempfile.TemporaryDirectory(prefix="dipo_upload_") as scratch:
        folders = []
        for number, upload in enumerate(uploads):
            folder = Path(scratch, str(number), upload.root.name)
            folder.mkdir(parents=True)
            for name in upload.files:
                _copy(upload.root, name, folder / name)
            copied = {name: (folder / name).stat().st_size for name in upload.files}
            check_upload(replace(upload, root=folder, files=copied), secrets)
            if missing := sorted(upload.files.keys() - packed_by_ray(folder)):
                raise UserError(
                    f"{missing[0]}: Ray packs no file of this name: rename it, or use an absolute path"
                )
            folders.append(folder)
        yield folders


def _copy(root: Path, name: str, target: Path) -> None:
    source = root / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if not source.resolve().is_relative_to(root.resolve()):
        raise UserError(f"{source}: has become {LINK}: nothing was sent")
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
