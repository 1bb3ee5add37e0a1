"""The sides of an equation or of a chain such as ``x = 3/4 = 0.75 \\approx 0.8``, and what its left side names."""

from __future__ import annotations

from dipo_eval import linear
from dipo_eval.grading.math.normalize import key

_SIGN = linear.bounded(r"(?<![<>:=])=(?!=)|\\(?:equiv|approx|iff)(?![a-zA-Z])|[{}]")
_APPROX = r"\approx"
_NAME = linear.compile(r"[A-Za-z\\|\u2220][^+*/^=-]*\Z")
_FUNCTION = linear.compile(r"([a-zA-Z])\s*\(\s*([a-zA-Z])\s*\)\Z")


def sides_of(text: str) -> list[tuple[str, str]]:
    """The sides of a chain, each with the sign before it ("" for the first); an "=" inside braces separates nothing."""
    found: list[tuple[str, str]] = []
    sign, at, depth = "", 0, 0
    for match in _SIGN.finditer(text):
        mark = match[0]
        if mark in "{}":
            depth += 1 if mark == "{" else -1
        elif depth <= 0 and "pmod" not in text:
            found.append((sign, text[at : match.start()].strip()))
            sign, at = mark, match.end()
    return [*found, (sign, text[at:].strip())]


def is_approximate(sign: str) -> bool:
    """Whether a side's sign says that it is only a rounded value."""
    return sign == _APPROX


def is_name(text: str) -> bool:
    """Whether a left side only names the value: ``x``, ``|AB|``, ``f(x)``, words."""
    return _NAME.match(text) is not None


def label_of(text: str) -> str | None:
    """The name in ``AB = 4``; None where there is none."""
    sides = sides_of(text)
    return key(sides[0][1]) if len(sides) == 2 and is_name(sides[0][1]) else None


def with_argument_of(given: str, wanted: str, right: str) -> str | None:
    """``right`` with the argument of the function ``given`` renamed to that of ``wanted``: f(n) = n as f(x) = x.

    None where one of them is no function of one letter, or where the new name is used already.
    """
    if {given, wanted} == {"y", "f(x)"}:
        return right
    one, other = _FUNCTION.match(given), _FUNCTION.match(wanted)
    if not one or not other or one[2] == other[2] or one[1] != other[1]:
        return None
    letters = linear.bounded(rf"(?<![a-zA-Z\\]){one[2]}(?![a-zA-Z])")
    taken = linear.bounded(rf"(?<![a-zA-Z\\]){other[2]}(?![a-zA-Z])")
    return None if taken.search(right) else letters.sub(other[2], right)
