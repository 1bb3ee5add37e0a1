"""Files that appear complete or not at all, also after a crash."""

from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK)


def write_atomic(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write a file so that a reader sees the old or the complete new one, also after a crash of the machine.

    `private`: for its owner alone (mode 600), else as the umask has it.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        _write_new(temporary, data, 0o600 if private else 0o666)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def create_once(path: Path, content: bytes) -> bool:
    """Create `path` with all its content; False where it exists. Of many processes that try, one succeeds.

    A temporary file is linked to the name, which fails where the name exists, also on NFS (open(2), O_EXCL); without hard
    links, O_EXCL itself decides.
    """
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    _write_new(temporary, content)
    try:
        os.link(temporary, path)
        return True
    except FileExistsError:
        # NFS repeats a link whose reply was lost, and then reports that the name exists.
        return os.stat(temporary).st_nlink == 2
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    finally:
        temporary.unlink(missing_ok=True)
    try:
        _write_new(path, content)
        return True
    except FileExistsError:
        return False


def _write_new(path: Path, content: bytes, mode: int = 0o644) -> None:
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
