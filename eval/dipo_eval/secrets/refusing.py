"""Stop what is about to be sent or written with a secret in it. Messages name the place, never the value."""

from __future__ import annotations

from collections.abc import Callable

from dipo_eval.secrets.errors import UserError
from dipo_eval.secrets.urls import url_secrets
from dipo_eval.secrets.values import Secrets, encoded, forms, wide_forms


def held_secret(content: str | bytes, secrets: Secrets) -> str | None:
    """The name of a variable whose value is in `content`, in any form; else None."""
    data = encoded(content) if isinstance(content, str) else content
    if name := _named(data, secrets, forms):
        return name
    if b"\0" not in data:
        return None
    # UTF-16 and UTF-32 write ASCII as itself between NULs.
    return _named(data.translate(None, b"\0"), secrets, forms) or _named(data, secrets, wide_forms)


def _named(data: bytes, secrets: Secrets, written: Callable[[str], list[bytes]]) -> str | None:
    for name, values in secrets.items():
        if any(form in data for value in values for form in written(value)):
            return name
    return None


def refuse_secrets(what: str, content: str | bytes, secrets: Secrets) -> None:
    """Raise UserError with the variable's name where `content` holds a secret."""
    if name := held_secret(content, secrets):
        raise UserError(
            f"{what} holds the value of {name}: a key must not be sent; take it out and see docs/submit.md, "
            '"Keys and tokens"'
        )


def refuse_url_secrets(what: str, value: str, remedy: str) -> None:
    """Raise UserError where an address holds a user name with a password, or a parameter such as token=."""
    if url_secrets(value):
        raise UserError(
            f"{what}: the address holds a password or a key, which would be printed and stored: take it out; {remedy}"
        )
