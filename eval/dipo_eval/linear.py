"""Regular expressions for a model's text: linear in its length, for any text.

Python's engine backtracks, in quadratic time or worse on some strings. Two kinds of pattern are safe:

``bounded``: without ``*``, ``+`` and ``{n,}`` a match has a bounded length, so Python's engine is linear.
``compile``: any other pattern runs in RE2 (https://github.com/google/re2), which is linear by construction and has
neither look-around nor ``\\b``; on at most ``SHORT_CHARS`` characters it runs in Python's engine, ten times as fast.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Protocol, cast

import re2

SHORT_CHARS = 200
_MAX_MEMORY = 2 * 1024**2  # bytes that RE2 may use for one pattern; its own default is 8 MiB
_SPACES = r"\t-\r\x1c-\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
_UNICODE = {"s": _SPACES, "d": r"\p{Nd}", "w": r"\p{L}\p{N}_"}
_ASCII = {"s": r"\t-\r\x20", "d": "0-9", "w": "0-9A-Za-z_"}
_SURROGATES = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")


class Match(Protocol):
    """A match of either engine."""

    def __getitem__(self, group: int | str) -> Any: ...
    def groups(self) -> tuple[Any, ...]: ...
    def start(self, group: int = 0) -> int: ...
    def end(self, group: int = 0) -> int: ...


class LinearPattern:
    """A pattern with the methods of Python's own, which take no position: give a slice."""

    __slots__ = ("_long", "_short", "flags", "pattern")

    def __init__(self, pattern: str, flags: int) -> None:
        self.pattern, self.flags = pattern, flags
        self._short = re.compile(pattern, flags)
        self._long: Any = None

    def search(self, text: str) -> Match | None:
        """The first match in ``text``."""
        if len(text) <= SHORT_CHARS:
            return cast("Match | None", self._short.search(text))
        return cast("Match | None", self.long().search(_encodable(text)))

    def match(self, text: str) -> Match | None:
        """A match at the start of ``text``."""
        if len(text) <= SHORT_CHARS:
            return cast("Match | None", self._short.match(text))
        return cast("Match | None", self.long().match(_encodable(text)))

    def finditer(self, text: str) -> Iterator[Match]:
        """All matches, from the left, none inside another."""
        if len(text) <= SHORT_CHARS:
            return cast("Iterator[Match]", self._short.finditer(text))
        return cast("Iterator[Match]", self.long().finditer(_encodable(text)))

    def findall(self, text: str) -> list[Any]:
        """The groups of all matches, as Python's ``findall`` gives them."""
        return list((self._short if len(text) <= SHORT_CHARS else self.long()).findall(_encodable(text)))

    def sub(self, replacement: str | Callable[[Match], str], text: str) -> str:
        """``text`` with every match replaced."""
        if len(text) <= SHORT_CHARS:
            return self._short.sub(cast(Any, replacement), text)
        return str(self.long().sub(replacement, _encodable(text)))

    def long(self) -> Any:
        """The pattern in RE2, compiled when first needed. Raises re2.error for syntax that RE2 lacks."""
        if self._long is None:
            options = re2.Options()
            options.log_errors = False
            options.max_mem = _MAX_MEMORY
            options.dot_nl = bool(self.flags & re.DOTALL)
            options.case_sensitive = not self.flags & re.IGNORECASE
            lines = "(?m)" if self.flags & re.MULTILINE else ""
            source, _ = _read(self.pattern, _ASCII if self.flags & re.ASCII else _UNICODE)
            self._long = re2.compile(lines + source, options)
        return self._long


def compile(pattern: str, flags: int = 0) -> LinearPattern:
    """A pattern for text of any length. ``flags``: re.IGNORECASE, DOTALL, MULTILINE, ASCII.

    ``\\s``, ``\\d`` and ``\\w`` are Python's, of all of Unicode, in both engines; ``\\Z`` is the end of the text.
    """
    return LinearPattern(pattern, flags)


def bounded(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """Python's own pattern, look-around included. Raises ValueError for a repetition without an upper bound."""
    _, repeats = _read(pattern, _UNICODE)
    if repeats:
        raise ValueError(f"{pattern!r} repeats {repeats} without end: use compile, or give an upper bound")
    return re.compile(pattern, flags)


def _encodable(text: str) -> str:
    """``text`` with its lone surrogates replaced, which RE2 does not accept."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.translate(_SURROGATES)
    return text


def _read(pattern: str, classes: dict[str, str]) -> tuple[str, str]:
    """A pattern of Python's in RE2's syntax, and its first repetition without an upper bound ("" for none)."""
    made: list[str] = []
    repeats, inside, at = "", False, 0
    while at < len(pattern):
        piece = pattern[at : at + 2] if pattern[at] == "\\" else pattern[at]
        if piece == r"\u":
            piece = pattern[at : at + 6]
        if piece[1:].lower() in classes and piece[1:]:
            negated, named = piece[1].isupper(), classes[piece[1].lower()]
            if negated and inside:
                raise ValueError(f"{pattern!r}: {piece} inside a class")
            made.append(named if inside else f"[{'^' if negated else ''}{named}]")
        elif piece[:2] == r"\u":
            made.append(f"\\x{{{piece[2:]}}}")
        else:
            made.append(r"\z" if piece == r"\Z" else piece)
        if (not inside and piece in ("*", "+")) or (piece == "{" and not inside and _is_open(pattern[at:])):
            repeats = repeats or pattern[max(0, at - 10) : at + 1]
        inside = piece == "[" or (inside and piece != "]")
        at += len(piece)
    return "".join(made), repeats


def _is_open(rest: str) -> bool:
    """Whether ``{`` begins a repetition of at least n times, ``{3,}``."""
    low, comma, high = rest[1:].partition("}")[0].partition(",")
    return low.isdigit() and comma == "," and not high
