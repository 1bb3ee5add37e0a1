"""What a Ray job takes along: the current folder without what it does not need, and this project's own code.

Which files Ray would send is asked from Ray itself (its exclude patterns, .gitignore and .rayignore), so that a dry run
shows exactly what an upload sends.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import dipo_eval
import dipo_openrlhf
from dipo_eval.errors import UserError
from dipo_openrlhf.api_keys import refuse_secrets

# gitignore patterns. Keys first: a file that commonly holds one never travels.
EXCLUDES = (
    ".env", ".env.*", "*.env", ".netrc", "*.pem", "*.key", "id_rsa*", "id_ed25519*", "*secret*", "*credential*",
    ".aws/", ".ssh/", ".git/", ".venv*/", "venv/", "__pycache__/", ".mypy_cache/", ".ruff_cache/", ".pytest_cache/",
    "/runs/", "/results/", "wandb/", "*.safetensors", "*.pt", "*.pth", "*.bin", "*.gguf",
)  # fmt: skip
# Ray refuses more (ray/_private/runtime_env/packaging.py:39); the zipped size counts there, the plain one here.
LIMIT = 500 * 2**20


@dataclass(frozen=True)
class Upload:
    """Files of one folder, relative to it, with their sizes in bytes."""

    root: Path
    files: dict[str, int]

    @property
    def size(self) -> int:
        return sum(self.files.values())


def code_folders() -> list[Path]:
    """This project's packages: the job runs the code that submitted it, whatever the cluster's image holds."""
    return [Path(package.__file__ or "").parent for package in (dipo_openrlhf, dipo_eval)]


def uploaded_code(excludes: tuple[str, ...]) -> list[Upload]:
    """The packages as Ray sends them: it applies the job's patterns to them too. Raises UserError where that hurts."""
    uploads = [uploaded_files(folder, excludes) for folder in code_folders()]
    for upload in uploads:
        missing = {
            str(path.relative_to(upload.root)) for path in upload.root.rglob("*.py")
        } - upload.files.keys()
        if missing:
            raise UserError(
                f"--exclude leaves out this project's own {upload.root.name}/{min(missing)}: use a narrower pattern, "
                "such as /folder/"
            )
    return uploads


def uploaded_files(root: Path, excludes: tuple[str, ...]) -> Upload:
    """What Ray would send of `root`. Raises UserError where a file cannot be read."""
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    files: dict[str, int] = {}

    def note(path: Path) -> None:
        if path.is_file():
            if not os.access(path, os.R_OK):
                raise UserError(f"{path}: cannot be read, so it cannot be sent: exclude it with --exclude")
            files[str(path.relative_to(root))] = path.stat().st_size

    quiet = logging.getLogger("dipo.upload")
    quiet.setLevel(logging.CRITICAL)  # Ray logs each ignore file, and what a handler raises
    ignore = os.environ.get("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "0") != "1"
    _dir_travel(root, [_get_excludes(root, list(excludes))], note, include_gitignore=ignore, logger=quiet)
    return Upload(root, dict(sorted(files.items())))


def check_upload(upload: Upload, secrets: Mapping[str, str]) -> None:
    """Raise UserError for an upload that is too large, or a file that holds a key of this environment."""
    if upload.size > LIMIT:
        largest = sorted(upload.files, key=lambda name: -upload.files[name])[:3]
        shown = ", ".join(f"{name} ({upload.files[name] / 2**20:.0f} MiB)" for name in largest)
        raise UserError(
            f"{upload.root}: {upload.size / 2**20:.0f} MiB to send, more than {LIMIT // 2**20}: leave out with "
            f"--exclude, or name files on shared storage by absolute paths; the largest: {shown}"
        )
    if secrets:
        for name in upload.files:
            refuse_secrets(str(upload.root / name), (upload.root / name).read_bytes(), secrets)


def check_paths_travel(values: Mapping[str, str], root: Path, upload: Upload) -> None:
    """Files that the recipe names by relative paths must be among those sent.

    `values`: key -> path as written. Raises UserError naming key and path.
    """
    for key, value in values.items():
        path = Path(value).expanduser()
        if path.is_absolute() or not path.exists():
            continue
        inside = path.resolve().is_relative_to(root.resolve())
        name = str(path.resolve().relative_to(root.resolve())) if inside else ""
        sent = name in upload.files or any(other.startswith(f"{name}/") for other in upload.files)
        left_out = [
            part for part in (path.rglob("*") if path.is_dir() else ())
            if part.is_file() and str(part.resolve().relative_to(root.resolve())) not in upload.files
        ] if sent else []  # fmt: skip
        if not sent or left_out:
            which = f" ({left_out[0].name})" if left_out else ""
            raise UserError(
                f"{key}: {value!r}: is not sent{which}: it lies outside the current folder or is left out (--exclude, "
                ".gitignore, weights); give an absolute path on storage that every node sees"
            )
