"""Sets of real numbers in other words than intervals: inequalities, chains, set builders, all reals, the empty set."""

from __future__ import annotations

import itertools
import re
from typing import NamedTuple

from dipo_eval import linear
from dipo_eval.grading.math.compare_closed_forms import real_value
from dipo_eval.grading.math.tokens import GREEK

EMPTY = r"\emptyset"
_REALS = (r"-\infty", r"\infty", "()")
_WORDS = {
    **dict.fromkeys((r"\mathbb{R}", "all real numbers", "all reals", "the real numbers", "real numbers", "the set of all "
                     "real numbers", "the set of real numbers", "any real number", "all real values",
                     "all real numbers x", "all real x", "all real values of x", "every real number"), (_REALS,)),
    **dict.fromkeys((r"\mathbb{R}^+", r"\mathbb{R}^{+}", r"\mathbb{R}_{>0}", r"\mathbb{R}_+", r"\mathbb{R}_{+}",
                     "all positive real numbers", "positive real numbers", "all positive reals", "the positive real "
                     "numbers"), (("0", r"\infty", "()"),)),
}  # fmt: skip
_EMPTY_WORDS = frozenset((
    "no solution", "no solutions", "no real solution", "no real solutions", "the empty set", "empty set", r"\{ \}",
    r"\{\}", "there is no solution", "there are no solutions", "no such x", "there are no real solutions", "none exist",
    "no solution exists", "no solutions exist", "none",
))  # fmt: skip
_SIGN = linear.bounded(r"(<|>|\\(?:le|ge|ne)(?![a-zA-Z]))")
_GREEK = "|".join(re.escape(name) for name in sorted(GREEK))
_VARIABLE = linear.compile(rf"\|?\s*(?:[a-zA-Z]|{_GREEK})(?:_\{{?[a-zA-Z0-9]{{1,3}}\}}?)?\s*\|?\Z")
_NO_BOUND = linear.bounded(r"[=,;]|\\cup|(?<![\\a-zA-Z])[a-zA-Z](?![a-zA-Z])")
_COMMAND = linear.bounded(r"\\[a-zA-Z]{1,20}|(?<![a-zA-Z])(?:pi|sqrt|e)(?![a-zA-Z])")
_BUILDER = linear.compile(r"\\\{\s*(?:[a-zA-Z])\s*(?:\\in\s*\\mathbb\{R\}\s*)?(?::|\|)\s*(.+)\\\}\Z")
_EITHER = linear.bounded(r"(?<![A-Za-z\\])or(?![a-zA-Z])|\\(?:vee|cup)(?![a-zA-Z])")
_BOTH = linear.bounded(r"(?<![A-Za-z\\])and(?![a-zA-Z])|\\wedge(?![a-zA-Z])")
_MEMBER = linear.compile(r"[a-zA-Z]\s*\\in\s*(.+)\Z")
_WITHOUT = linear.compile(r"\\mathbb\{R\}\s*(?:\\setminus|-)\s*\\\{(.+)\\\}\Z")
_WITHOUT_INTERVAL = linear.compile(
    r"\\mathbb\{R\}\s*(?:\\setminus|-)\s*([(\[])\s*([^,;()\[\]]+),([^,;()\[\]]+)([)\]])\Z"
)
_POINT = linear.compile(r"[a-zA-Z]\s*=\s*([^=<>]+)\Z")
_EXCEPT = linear.compile(
    r"(?:the set of )?(?:all |any |the )?(?:real numbers?|reals)(?: x)?,? "
    r"(?:except|excluding|but|other than)(?: for)? (?:x\s*=\s*)?(.+)\Z",
    re.IGNORECASE,
)
_AND = linear.bounded(r"(?<![a-zA-Z])(?:and|or)(?![a-zA-Z])|(?<![a-zA-Z])x\s{0,3}=")
_REAL_MEMBER = linear.compile(r"[a-zA-Z]\s*\\in\s*\\mathbb\{R\}\s*[,;:|]?\s*([a-zA-Z].*)\Z")
_MINUS_POINT = linear.compile(r"(.+?)\s?\\setminus\s?\\\{([^,{}]+)\\\}\Z")
_AND_NOT = linear.compile(r"(.+?)(?:,|;|\sand\s|\\wedge)\s?[a-zA-Z]\s?\\ne\s([^,;<>]+)\Z")
_ONE_INTERVAL = linear.compile(r"([(\[])([^,;()\[\]]+),([^,;()\[\]]+)([)\]])\Z")
_FRENCH = linear.bounded(r"([\[\]])([^,;()\[\]]{1,60})[,;]([^,;()\[\]]{1,60})([\[\]])")
_INFINITE = {r"\infty": float("inf"), r"+\infty": float("inf"), r"-\infty": float("-inf")}
_STRICT = {"<": ("(", ")"), ">": ("(", ")"), r"\le": ("[", "]"), r"\ge": ("[", "]")}

_MAX_CHARS = 500  # each excepted point is read with all before it: the square of their number


class Interval(NamedTuple):
    """An interval: its ends as they are written, and its brackets, such as ``(]``; ``{}`` for one point."""

    low: str
    high: str
    brackets: str


def english_intervals(text: str) -> str:
    """``]a; b[`` as ``(a, b)``: the brackets of French schools."""

    def turned(match: re.Match[str]) -> str:
        left, right = ("(" if match[1] == "]" else "["), (")" if match[4] == "[" else "]")
        return f"{left}{match[2]}, {match[3]}{right}"

    is_french = text.startswith("]") or text.endswith("[")
    return _FRENCH.sub(turned, text) if is_french else text


def read_real_set(text: str) -> tuple[Interval, ...] | None:
    """The intervals of a set of reals that is written in words or with inequalities; None for anything else."""
    if len(text) > _MAX_CHARS:
        return None
    known = _WORDS.get(" ".join(text.lower().split())) or _WORDS.get(text)
    if known:
        return tuple(Interval(*one) for one in known)
    excepted = _EXCEPT.match(text)
    if excepted:
        return _all_but([point.strip() for point in _AND.sub(",", excepted[1]).split(",") if point.strip()])
    if r"\setminus" in text or r"\ne" in text:
        points_out = _without_points(text)
        if points_out:
            return points_out
    if r"\mathbb" in text:
        member = _REAL_MEMBER.match(text)
        if member:
            return read_real_set(member[1])
        without = _WITHOUT.match(text)
        if without:
            return _all_but([point.strip() for point in without[1].split(",")])
        without = _WITHOUT_INTERVAL.match(text)
        if without:
            left, low, high, right = (part.strip() for part in without.groups())
            turned = {"(": "]", "[": ")", ")": "[", "]": "("}
            return Interval(r"-\infty", low, "(" + turned[left]), Interval(
                high, r"\infty", turned[right] + ")"
            )
    builder = _BUILDER.match(text)
    if builder:
        return read_real_set(builder[1].strip())
    if not any(sign in text for sign in ("<", ">", r"\le", r"\ge", r"\ne")):
        return None
    pieces = [piece.strip() for piece in _EITHER.split(text)]
    if len(pieces) > 1:
        found = [_point(piece) or read_real_set(piece) for piece in pieces]
        return None if None in found else tuple(one for intervals in found for one in intervals or ())
    both = [piece.strip() for piece in _BOTH.split(text)]
    if len(both) == 2:
        return _intersection(*both)
    return _relation(text)


def _without_points(text: str) -> tuple[Interval, ...] | None:
    """``(0, 36) \\setminus \\{9\\}``, ``0 < x < 36, x \\ne 9``: intervals without a point inside one of them."""
    found = _MINUS_POINT.match(text) or _AND_NOT.match(text)
    if found is None:
        return None
    bracketed = _ONE_INTERVAL.match(found[1].strip())
    if bracketed:
        intervals: tuple[Interval, ...] | None = (
            Interval(bracketed[2].strip(), bracketed[3].strip(), bracketed[1] + bracketed[4]),
        )
    else:
        intervals = read_real_set(found[1].strip())
    point = found[2].strip()
    at = real_value(point)
    if at is None or not intervals:
        return None
    made: list[Interval] = []
    for one in intervals:
        low, high = _end(one.low), _end(one.high)
        if low is None or high is None:
            return None
        if low < at < high:
            made.append(Interval(one.low, point, one.brackets[0] + ")"))
            one = Interval(point, one.high, "(" + one.brackets[1])
        made.append(one)
    return tuple(made) if len(made) > len(intervals) else None


def _end(text: str) -> float | None:
    return _INFINITE.get(text.replace(" ", "")) or real_value(text)


def _point(text: str) -> tuple[Interval, ...] | None:
    """``x = 1`` beside an inequality."""
    found = _POINT.match(text)
    value = found[1].strip() if found else ""
    return (Interval(value, value, "{}"),) if value and _is_bound(value) else None


def is_empty_set(text: str) -> bool:
    """Whether cleaned ``text`` says that there is no solution."""
    return text == EMPTY or " ".join(text.lower().split()) in _EMPTY_WORDS


def _relation(text: str) -> tuple[Interval, ...] | None:
    """``a < x \\le b``, ``3 > x > 1``, ``x \\ge a``, ``a < x``, ``x \\ne a``, each also with ``|x|``."""
    sides = [side.strip() for side in _SIGN.split(text)]
    if len(sides) == 5 and _VARIABLE.match(sides[2]) and r"\ne" not in sides:
        low, left, name, right, high = sides
        if (left in ("<", r"\le")) != (right in ("<", r"\le")) or not (_is_end(low) and _is_end(high)):
            return None
        if left in (">", r"\ge"):
            low, left, right, high = high, right, left, low
        brackets = _STRICT[left][0] + _STRICT[right][1]
        return _of_absolute(low, high, brackets) if "|" in name else (Interval(low, high, brackets),)
    if len(sides) != 3:
        return None
    left_side, sign, value = sides
    if not _VARIABLE.match(left_side):
        left_side, value = value, left_side
        sign = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", r"\ne": r"\ne"}[sign]
    if not _VARIABLE.match(left_side) or not _is_bound(value):
        return None
    if sign == r"\ne":
        return None if "|" in left_side else _all_but([value])
    if "|" in left_side:
        if sign in (">", r"\ge"):
            return _of_absolute(value, r"\infty", _STRICT[sign][0] + ")")
        return (Interval(f"-({value})", value, "".join(_STRICT[sign])),)
    if sign in (">", r"\ge"):
        return (Interval(value, r"\infty", _STRICT[sign][0] + ")"),)
    return (Interval(r"-\infty", value, "(" + _STRICT[sign][1]),)


def _is_end(text: str) -> bool:
    return bool(text) and "," not in text and "=" not in text


def _is_bound(text: str) -> bool:
    """Whether ``text`` is a constant: no letter of its own."""
    return bool(text) and _NO_BOUND.search(_COMMAND.sub("", text)) is None and not _VARIABLE.match(text)


def _of_absolute(low: str, high: str, brackets: str) -> tuple[Interval, ...]:
    mirrored = {"(": ")", ")": "(", "[": "]", "]": "["}
    left = Interval(
        r"-\infty" if high == r"\infty" else f"-({high})",
        f"-({low})",
        mirrored[brackets[1]] + mirrored[brackets[0]],
    )
    return (left, Interval(low, high, brackets))


def _intersection(one: str, other: str) -> tuple[Interval, ...] | None:
    """A lower and an upper bound of one variable, joined by "and"."""
    ends = [read_real_set(side) for side in (one, other)]
    if any(found is None or len(found) != 1 for found in ends):
        return None
    (first,), (second,) = ends  # type: ignore[misc]
    if first.low == r"-\infty":
        first, second = second, first
    if first.high != r"\infty" or second.low != r"-\infty":
        return None
    return (Interval(first.low, second.high, first.brackets[0] + second.brackets[1]),)


def _all_but(points: list[str]) -> tuple[Interval, ...] | None:
    values = [real_value(point) for point in points]
    if None in values or len(points) > 20:
        return None
    ordered = [point for _, point in sorted(zip(values, points, strict=True))]
    ends = [r"-\infty", *ordered, r"\infty"]
    return tuple(Interval(low, high, "()") for low, high in itertools.pairwise(ends))
