"""The one error that a user is meant to read. Here, since its message masks secrets; imported as dipo_eval.errors."""

from __future__ import annotations

from dipo_eval.secrets.masking import mask_text

_MAX_MESSAGE = 8000  # characters of a message that are read: some servers send pages
_MASKED = 10 * _MAX_MESSAGE  # those that are masked first: a key must not be cut before it is recognized


class UserError(Exception):
    """A mistake that the user can fix: bad input, a missing file, an impossible combination.

    The message is ONE line that says what is wrong, where (key, file, line) and what to do. The command
    line prints it without a traceback and exits with status 2. Secrets of this environment and credentials in
    addresses are masked wherever it is shown: terminals, logs, events, tracebacks.
    """

    def __str__(self) -> str:
        return mask_text(super().__str__())


def short_repr(value: object, limit: int = 80) -> str:
    """repr of a value for a message, cut at `limit` characters; a secret is masked before it could be cut in two."""
    return mask_text(repr(value)[:_MASKED])[:limit]


def one_line(error: BaseException) -> str:
    """Type and first non-empty line of an error's message, at most 400 characters, with secrets masked."""
    lines = [
        line.strip() for line in mask_text(str(error)[:_MASKED])[:_MAX_MESSAGE].splitlines() if line.strip()
    ]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"[:400]
