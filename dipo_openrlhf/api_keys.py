"""Keys and tokens: read from the environment or from a file that only its owner can read, and sent nowhere.

Ray shows a job's environment variables to everyone who can open its dashboard, Kubernetes stores a manifest, Slurm
keeps a copy of the script: so a value goes into none of them. Where the processes of a run do not inherit the variable,
DIPO_SECRETS_FILE names a file of NAME=VALUE lines on storage that every node sees; each process of the run reads it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from dipo_eval.errors import UserError

SECRETS_FILE = "DIPO_SECRETS_FILE"
_SECRET_NAME = re.compile(
    r"(^|_)(API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(_|$)"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHORTEST = 8  # characters; a shorter value occurs in ordinary text by chance


def is_secret_name(name: str) -> bool:
    """Whether a variable's name says that its value is a key, a token or a password."""
    return bool(_SECRET_NAME.search(name.upper()))


def secrets_in(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables whose values must not leave this process."""
    return {
        name: value
        for name, value in environment.items()
        if is_secret_name(name) and len(value) >= _SHORTEST and not Path(value).exists()
    }


def refuse_secrets(what: str, content: str | bytes, secrets: Mapping[str, str]) -> None:
    """Raise UserError, naming the variable and not its value, where `content` holds a secret."""
    data = content.encode() if isinstance(content, str) else content
    for name, value in secrets.items():
        if value.encode() in data:
            raise UserError(
                f"{what} holds the value of {name}: a key must not be sent; take it out and see docs/submit.md, "
                '"Keys and tokens"'
            )


def read_secrets_file(path: Path) -> dict[str, str]:
    """NAME=VALUE lines; `export` before the name, quotes around the value and # lines are allowed.

    Raises UserError: not there, readable by others, or a line that is not NAME=VALUE (its number, never its text).
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
    """Put what DIPO_SECRETS_FILE holds into this process's environment; what is set already stays."""
    path = os.environ.get(SECRETS_FILE)
    if path:
        for name, value in read_secrets_file(Path(path).expanduser()).items():
            os.environ.setdefault(name, value)
