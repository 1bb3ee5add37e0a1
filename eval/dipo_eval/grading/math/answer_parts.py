"""Split an answer into its parts: lists, tuples, intervals, sets, unions and matrices."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from operator import sub
from typing import Literal

from dipo_eval import linear
from dipo_eval.grading.math.peel import peel, without_currency
from dipo_eval.grading.math.real_sets import (
    EMPTY,
    Interval,
    english_intervals,
    is_empty_set,
    read_real_set,
)

Kind = Literal["leaf", "list", "tuple", "set", "union", "matrix"]

MAX_NESTING = 20
_OPENING, _CLOSING = frozenset({"(", "[", "{", r"\{"}), frozenset({")", "]", "}", r"\}"})
_SEPARATORS = (",", ";", "and", "or")
_MARK = linear.bounded(r"\\[{}]|[()\[\]{},;]|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])")
# In cleaned text white space is one blank: the 9 here are more than enough.
_UNION = linear.bounded(r"\\cup(?![a-zA-Z])|(?<=[)\]}])\s{0,9}U\s{0,9}(?=[(\[\\])")
_MATRIX = linear.compile(
    r"\\begin\{(?:pmatrix|array)\}(?:\{[^{}]*\})?(.*)\\end\{(?:pmatrix|array)\}\Z", re.DOTALL
)
_TRANSPOSED = linear.compile(r"([(\[][^()\[\]]*,[^()\[\]]*[)\]])\s?\^\s?\{?\s?\\?(?:T|top)\s?\}?\Z")
_MEMBER = linear.bounded(
    r"(?:[a-zA-Z]|\\[a-z]{2,8}|\(\s?[a-zA-Z](?:\s?,\s?[a-zA-Z]){1,4}\s?\))\s{0,9}\\in(?![a-zA-Z])\s{0,9}"
)
_TUPLES = linear.bounded(r"(\([^()]{1,40},[^()]{1,40}\)) (?=\([^()]{1,40},[^()]{1,40}\))")
_THOUSANDS = linear.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?\D*\Z", re.ASCII)
_GROUPED = linear.bounded(r"(?<![\d.,_])\d{1,3}(?:,\d{3}){1,6}(?![\d,])")
_WORDED = linear.bounded(r"[a-zA-Z]{3}")
_PLUS_MINUS = linear.bounded(r"\\(pm|mp)(?![a-zA-Z])")


@dataclass(frozen=True, slots=True)
class Part:
    """One answer: a leaf with its text, or a container with its items. ``brackets``: such as ``(]``."""

    kind: Kind
    text: str
    items: tuple[Part, ...] = ()
    brackets: str = ""


def parse_parts(text: str, *, as_list: bool = False) -> Part:
    """The parts of cleaned ``text``. ``as_list``: read ``100,200`` as two answers and not as one number."""
    if nesting(text) > MAX_NESTING:
        return Part("leaf", text)
    text = english_intervals(peel(text))
    if "^" in text[-8:]:
        text = _TRANSPOSED.sub(r"\1", text)
    member = _MEMBER.match(text)
    if member:
        text = text[member.end() :]
    if is_empty_set(text):
        return Part("leaf", EMPTY)
    intervals = read_real_set(text)
    if intervals is not None:
        return _of_intervals(text, intervals)
    matrix = _MATRIX.match(text)
    if matrix:
        return _matrix(text, matrix[1])
    if not as_list and "," in text:
        if _THOUSANDS.match(text):
            return Part("leaf", text)
        text = without_thousands(text)
    if ") (" in text:
        text = _TUPLES.sub(r"\1, ", text)
    pieces = _split(text)
    if len(pieces) > 1:
        return Part("list", text, _expand(_items(pieces)))
    if "U" in text or "cup" in text:
        parts = _UNION.split(text)
        if len(parts) > 1:
            return Part("union", text, tuple(parse_parts(part.strip()) for part in parts))
    return _bracketed(text) or _plus_minus(text)


def nesting(text: str) -> int:
    """The deepest bracket level of ``text``: what follows recurses once a level."""
    levels = list(accumulate(((char in "([{") - (char in ")]}") for char in text), initial=0))
    return max(map(sub, levels, accumulate(levels, min)))


def _marks(text: str) -> Iterator[tuple[re.Match[str], int]]:
    """The brackets and separators of ``text``, each with the bracket level after it."""
    depth = 0
    for match in _MARK.finditer(text):
        depth += (match[0] in _OPENING) - (match[0] in _CLOSING)
        yield match, depth


def _split(text: str) -> list[str]:
    """Top-level pieces of ``text`` between commas, semicolons, "and" and "or"; one flat pass."""
    if not any(mark in text for mark in _SEPARATORS):
        return [text]
    start = 0
    pieces = []
    for match, depth in _marks(text):
        if depth <= 0 and match[0] in _SEPARATORS:
            pieces.append(text[start : match.start()])
            start = match.end()
    pieces.append(text[start:])
    return [piece.strip() for piece in pieces if piece.strip()]


def _items(pieces: list[str]) -> list[Part]:
    return [_bracketed(piece) or _item(piece) for piece in pieces]


def _item(piece: str) -> Part:
    """One answer of several: a structure behind a label or words, else a leaf."""
    peeled = without_currency(piece) if not _WORDED.search(piece) and "=" not in piece else peel(piece)
    return (_bracketed(peeled) if peeled != piece else None) or Part("leaf", peeled)


def _expand(items: list[Part]) -> tuple[Part, ...]:
    """Items with each ``a \\pm b`` replaced by its two values."""
    expanded: list[Part] = []
    for item in items:
        both = _plus_minus(item.text) if item.kind == "leaf" else item
        expanded.extend(both.items if both.kind == "list" else [item])
    return tuple(expanded)


def _plus_minus(text: str) -> Part:
    if "\\pm" not in text and "\\mp" not in text:
        return Part("leaf", text)
    upper = _PLUS_MINUS.sub(lambda match: "+" if match[1] == "pm" else "-", text)
    lower = _PLUS_MINUS.sub(lambda match: "-" if match[1] == "pm" else "+", text)
    if len(upper) == len(text):
        return Part("leaf", text)
    return Part("list", text, (Part("leaf", upper), Part("leaf", lower)))


def without_thousands(text: str) -> str:
    """``text`` with ``58,500`` as 58500, outside round and square brackets, where a comma separates coordinates."""
    if not _GROUPED.search(text):
        return text
    depth = 0
    made: list[str] = []
    at = 0
    for match in _GROUPED.finditer(text):
        between = text[at : match.start()]
        depth += sum((char in "([") - (char in ")]") for char in between)
        made += [between, match[0] if depth > 0 else match[0].replace(",", "")]
        at = match.end()
    return "".join([*made, text[at:]])


def _of_intervals(text: str, intervals: tuple[Interval, ...]) -> Part:
    parts = tuple(
        Part("set", rf"\{{{one.low}\}}", (Part("leaf", one.low),)) if one.brackets == "{}" else
        Part("tuple", f"{one.brackets[0]}{one.low},{one.high}{one.brackets[1]}",
             (Part("leaf", one.low), Part("leaf", one.high)), one.brackets)
        for one in intervals
    )  # fmt: skip
    return parts[0] if len(parts) == 1 else Part("union", text, parts)


def _bracketed(text: str) -> Part | None:
    """A tuple, interval or set that is all of ``text``; None for anything else."""
    if text.startswith(r"\{") and text.endswith(r"\}"):
        inner, brackets = text[2:-2], "{}"
    elif text[:1] in ("(", "[") and text[-1:] in (")", "]"):
        inner, brackets = text[1:-1], text[0] + text[-1]
    else:
        return None
    depths = [0, *(depth for _, depth in _marks(inner))]
    if not min(depths) == depths[-1] == 0:  # a bracket closes before it opens, or never
        return None
    pieces = _split(inner)
    if brackets == "{}":
        return Part("set", text, _expand(_items(pieces)))
    if len(pieces) < 2:
        is_choice = len(inner) == 1 and inner.isalpha()
        return parse_parts(inner) if brackets == "()" and pieces and not is_choice else None
    return Part("tuple", text, tuple(_items(pieces)), brackets)


def _matrix(text: str, body: str) -> Part:
    rows = [row.strip() for row in body.split(r"\\") if row.strip()]
    cells = (tuple(Part("leaf", cell.strip()) for cell in row.split("&")) for row in rows)
    return Part(
        "matrix",
        text,
        tuple(Part("tuple", row, row_cells, "()") for row, row_cells in zip(rows, cells, strict=True)),
    )
