"""Whether a file or folder that a command is to write can be written: asked before the work, told in one line."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from dipo_eval.errors import UserError


def check_can_write(path: Path, what: str) -> None:
    """Raise UserError unless a file can be written there. `what`: the option or key, for the message. Writes nothing."""
    if os.path.isdir(path):  # False where the name is too long, which _check reports
        raise UserError(f"{what} {str(path)!r}: is a folder; name a file in it")
    if os.path.exists(path) and not os.access(path, os.W_OK):
        raise UserError(f"{what} {str(path)!r}: must not be written here; name another file")
    _check(path.parent, path, what)


def check_can_make_folder(path: Path, what: str) -> None:
    """Raise UserError unless that folder is there, or can be made, and files can be written in it. Makes nothing."""
    _check(path, path, what)


def _check(folder: Path, path: Path, what: str) -> None:
    place = f"{what} {_shown(path)}"
    try:
        there = next(one for one in (folder, *folder.absolute().parents) if os.path.lexists(one))
        if not os.path.exists(there):
            raise UserError(f"{place}: {there} is a link to nothing; name another place")
        if not there.is_dir():
            raise UserError(f"{place}: {there} is a file, not a folder; name another place")
        limit = os.pathconf(there, "PC_NAME_MAX")
        if any(len(os.fsencode(part)) > limit for part in path.parts):
            raise UserError(f"{place}: a name in it is longer than {limit} bytes; choose a shorter one")
        # The permission bits do not tell for root, nor a full or read-only disk.
        os.rmdir(tempfile.mkdtemp(prefix=".dipo-", dir=there))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UserError(f"{place}: nothing can be written there ({reason}); name another place") from None


def _shown(path: Path, limit: int = 200) -> str:
    text = str(path)
    return repr(text if len(text) <= limit else f"{text[:limit]}...")
