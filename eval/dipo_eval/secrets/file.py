"""A file of keys that only its owner can read (DIPO_SECRETS_FILE), for the processes of a job.

Ray shows a job's environment variables in its dashboard, Kubernetes stores a manifest, Slurm keeps a copy of the script:
no secret goes into them. DIPO_SECRETS_FILE names a file of NAME=VALUE lines on storage that every node sees; each
process of the run that does not inherit the variables reads it.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from dipo_eval.secrets.errors import UserError

SECRETS_FILE = "DIPO_SECRETS_FILE"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read_secrets_file(path: Path) -> dict[str, str]:
    """NAME=VALUE lines; `export` before the name, quotes around the value and # lines are allowed.

    Raises UserError for a missing file, one that others can read, or a line that is not NAME=VALUE (its number only).
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UserError(f"{SECRETS_FILE}: {str(path)!r} cannot be read on this node: {reason}") from None
    if stat.S_IMODE(mode) & 0o077:
        raise UserError(f"{SECRETS_FILE}: {str(path)!r} can be read by others: chmod 600 {path}")
    values = {}
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.strip().removeprefix("export ").strip()
        if not entry or entry.startswith("#"):
            continue
        name, separator, value = entry.partition("=")
        if not separator or not _NAME.fullmatch(name.strip()):
            raise UserError(f"{path}:{number}: not a NAME=VALUE line")
        values[name.strip()] = _unquoted(value.strip())
    return values


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"" else value


def load_secrets() -> None:
    """Add the variables of DIPO_SECRETS_FILE to this process's environment; those already set stay."""
    path = os.environ.get(SECRETS_FILE)
    if path:
        for name, value in read_secrets_file(Path(path).expanduser()).items():
            os.environ.setdefault(name, value)
