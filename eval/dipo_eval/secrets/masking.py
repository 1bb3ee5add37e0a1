"""Replace secrets in what is shown, logged or written and cannot be refused."""

from __future__ import annotations

import os
from typing import Any

from dipo_eval.secrets.names import is_secret_name
from dipo_eval.secrets.urls import MASK, mask_urls
from dipo_eval.secrets.values import Secrets, forms, secrets_in

_MAX_DEPTH = 50  # levels of a mapping; deeper values are masked


def mask_text(text: str, secrets: Secrets | None = None) -> str:
    """`text` without credentials in addresses and without the values of `secrets` (those of this environment)."""
    text = mask_urls(text)
    for values in (secrets_in(os.environ) if secrets is None else secrets).values():
        for value in values:
            for form in forms(value):
                text = text.replace(form.decode("utf-8", "surrogateescape"), MASK)
    return text


def mask_values(value: Any, secrets: Secrets | None = None) -> Any:
    """The same for nested mappings and lists; a value under a secret's name is always masked."""
    known = secrets_in(os.environ) if secrets is None else secrets
    return _masked(value, known, _MAX_DEPTH)


def _masked(value: Any, secrets: Secrets, levels: int) -> Any:
    if isinstance(value, dict | list | tuple) and levels == 0:
        return MASK
    if isinstance(value, dict):
        return {
            _masked(key, secrets, levels - 1): MASK
            if _is_held(key, inner)
            else _masked(inner, secrets, levels - 1)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return type(value)(_masked(inner, secrets, levels - 1) for inner in value)
    return mask_text(value, secrets) if isinstance(value, str) else value


def _is_held(key: Any, value: Any) -> bool:
    """A boolean or an empty value under a secret's name is no secret."""
    return isinstance(key, str) and not isinstance(value, bool) and bool(value) and is_secret_name(key)
