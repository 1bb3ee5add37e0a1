"""The secret values of an environment, in every form in which they may occur."""

from __future__ import annotations

import base64
import functools
import html
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from dipo_eval.secrets.names import is_secret_name
from dipo_eval.secrets.urls import url_secrets

MIN_LENGTH = 8  # characters; a shorter value occurs in ordinary text by chance
_MAX_FILE = 2**20  # bytes of a file of keys
_FRAME = "-----"  # in a PEM file's first and last line, which are the same in all
_PLACES = ("_FILE", "_PATH")
# /opt/lmod/8.7/share: two or more parts of plain words and versions, unlike a key that starts with a slash.
_WORD = r"(?:[a-z]{1,20}|[A-Z][a-z]{0,19}|[A-Z]{2,12})?[0-9]{0,4}"
_PATH = rf"(?:/{_WORD}(?:[._-]{_WORD}){{0,8}}){{2,32}}"
_PATHS = re.compile(rf"{_PATH}(?::{_PATH}){{0,32}}")
_WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")

Secrets = Mapping[str, tuple[str, ...]]
"""Name of a variable -> the strings that must not leave this process. Never shown, not even by repr."""


def secrets_in(environment: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The secrets of an environment by the names of their variables.

    Values of variables with a secret's name; passwords in any value that is an address; and for the path of a file of
    keys (GOOGLE_APPLICATION_CREDENTIALS, DIPO_SECRETS_FILE) the file's content and not its path.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, value in environment.items():
        secrets = dict.fromkeys(one for one in _secrets_of(name, value) if len(one) >= MIN_LENGTH)
        if secrets:
            found[name] = tuple(secrets)
    return found


def _secrets_of(name: str, value: str) -> Iterator[str]:
    yield from url_secrets(value)
    by_name = is_secret_name(name)
    names_a_file = by_name or any(
        name.endswith(place) and is_secret_name(name.removesuffix(place)) for place in _PLACES
    )
    if names_a_file and is_existing_path(value):
        yield from _secrets_of_file(value)
    elif by_name and not _PATHS.fullmatch(value):  # LMOD_KEY=/opt/lmod/8.7, of what is on another machine
        yield from _with_lines(value)


def is_existing_path(value: str) -> bool:
    """Whether this path exists. Never raises: the OSError of a value too long for a path would hold the value."""
    try:
        os.stat(os.path.expanduser(value))
    except (OSError, ValueError):  # ValueError: a NUL, or a character that no path can hold
        return False
    return "/" in value  # a password may happen to be a file's name


def _secrets_of_file(path: str) -> Iterator[str]:
    """The complete content, the values of NAME=VALUE lines, and those under a secret's name in JSON."""
    try:
        file = Path(path).expanduser()
        if not file.is_file() or file.stat().st_size > _MAX_FILE:
            return
        text = file.read_bytes().decode("utf-8", errors="surrogateescape")
    except OSError:
        return
    yield text.strip()
    try:
        yield from _named_leaves(json.loads(text), secret=False)
    except (ValueError, RecursionError):
        for line in text.splitlines():
            name, separator, value = line.partition("=")
            if separator and is_secret_name(name):
                yield value.strip().strip("'\"")
            elif _FRAME in text:
                yield from _with_lines(line)
            yield from url_secrets(line)


def _named_leaves(value: Any, *, secret: bool) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _named_leaves(inner, secret=secret or is_secret_name(str(key)))
    elif isinstance(value, list):
        for inner in value:
            yield from _named_leaves(inner, secret=secret)
    elif secret and isinstance(value, str):
        yield from _with_lines(value)


def _with_lines(value: str) -> Iterator[str]:
    """The value and each of its longer lines: a log may break it, indent it or quote one line."""
    yield value.strip()
    lines = [line.strip() for line in value.splitlines()]
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= 2 * MIN_LENGTH and _FRAME not in line)


@functools.lru_cache(maxsize=1024)
def forms(value: str) -> list[bytes]:
    """A value as it is and in JSON, YAML, Python, a URL, HTML, hex and base64, the longest first."""
    raw = encoded(value)
    every = {raw, raw.hex().encode(), raw.hex().upper().encode(), *map(encoded, _spellings(value))}
    every |= _base64_forms(raw)
    return sorted((form for form in every if len(form) >= MIN_LENGTH), key=len, reverse=True)


def _spellings(value: str) -> set[str]:
    raw = encoded(value)
    return {
        value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1],
        html.escape(value), value.replace("'", "''"), value.replace("'", "'\"'\"'"), unquote(value),
        quote(raw, safe=""), quote(raw), quote_plus(raw),
    }  # fmt: skip


def _base64_forms(raw: bytes) -> set[bytes]:
    """Alone, and its part that does not depend on what precedes and follows (`user:KEY` of Basic authentication)."""
    found = set()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        found.add(encode(raw))
        for before in range(3):
            written = encode(bytes(before) + raw).rstrip(b"=")
            shared_end = (before + len(raw)) % 3 != 0  # the last character holds bits of what follows
            found.add(written[(0, 2, 3)[before] : len(written) - shared_end])
    return found


@functools.lru_cache(maxsize=1024)
def wide_forms(value: str) -> list[bytes]:
    """A non-ASCII value in UTF-16 and UTF-32; an ASCII value is found there once the NULs are removed."""
    wide = [text for text in _spellings(value) if not text.isascii()]
    return [text.encode(encoding, "surrogatepass") for text in wide for encoding in _WIDE]


def encoded(value: str) -> bytes:
    """The bytes of a variable's value; of a string that no variable can hold, some bytes."""
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")
