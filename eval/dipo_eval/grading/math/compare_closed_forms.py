"""Compare two closed forms by their values: exactly where they are rational, else numerically at fixed points."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from functools import lru_cache
from typing import Any

from dipo_eval.grading.math.evaluate import (
    INTEGER_FUNCTIONS,
    Exact,
    Float,
    Inexact,
    TooLarge,
    evaluate,
    uses,
    variables,
)
from dipo_eval.grading.math.expression import Node, parse_expression
from dipo_eval.grading.math.outcome import Outcome
from dipo_eval.grading.math.tokens import Unsupported

_CLEARLY = 1e-6
_INTEGER_KINDS = frozenset({"floor", "ceil", "sum", "prod", *INTEGER_FUNCTIONS})
_SIGNED = frozenset({"abs"})
_DOUBLE = 1e-14
"""Relative error of a decimal that a program printed with all digits of a double."""
_EXACT = Exact()


@lru_cache(maxsize=4096)
def cached_tree(text: str) -> Node | None:
    """The tree of ``text``, or None where it is outside the parser's language."""
    try:
        return parse_expression(text)
    except Unsupported:
        return None


def points(left: Node, right: Node, count: int = 6) -> list[dict[str, Fraction]]:
    """Fixed pseudo-random values for the variables of both: positive rationals, or integers where one is needed.

    Positive, as school answers take a variable under a root to be, but of both signs beside an absolute value; integers
    for floors, factorials and binomials, rising or falling from the first variable to the last so that a binomial is not
    always 0.
    """
    names = sorted(variables(left) | variables(right))
    generator = random.Random(20260414)
    if not names:
        return [{}]
    if not (uses(left, _INTEGER_KINDS) or uses(right, _INTEGER_KINDS)):
        signed = uses(left, _SIGNED) or uses(right, _SIGNED)
        return [
            {
                name: Fraction(generator.randint(300, 2900), 1000 + index)
                * (-1 if signed and step % 2 else 1)
                for index, name in enumerate(names)
            }
            for step in range(count)
        ]
    made = []
    for _ in range(8 * count):
        values = sorted(generator.sample(range(2, 40), len(names))) if len(names) < 30 else []
        if generator.random() < 0.5:
            values.reverse()
        made.append({name: Fraction(value) for name, value in zip(names, values, strict=False)})
    return made


def compare_expressions(answer: str, gold: str, tolerance: Fraction | None = None) -> Outcome:
    """Compare two cleaned expressions in bounded time.

    EQUAL where both are rational and the same at every point tried (two different rational functions agree at
    random points with a chance of about degree/2600 each, Schwartz and Zippel), or within ``tolerance``;
    DIFFERENT where they clearly differ at one point; UNKNOWN where they agree only in floating point, and where
    their variables are not the same, since some may cancel (x + y - y).
    """
    left, right = cached_tree(answer), cached_tree(gold)
    if left is None or right is None:
        return Outcome.UNKNOWN
    is_open = variables(left) != variables(right)
    count, allowed = (2, None) if is_open else (6, tolerance)
    try:
        for values in points(left, right, count):
            outcome = _at_point(left, right, values, allowed)
            if outcome is Outcome.DIFFERENT:
                return outcome
            is_open = is_open or outcome is Outcome.UNKNOWN
    except TooLarge:
        return Outcome.TOO_LARGE
    except Unsupported:
        return Outcome.UNKNOWN
    return Outcome.UNKNOWN if is_open else Outcome.EQUAL


def _at_point(left: Node, right: Node, values: dict[str, Fraction], tolerance: Fraction | None) -> Outcome:
    try:
        a, b = evaluate(left, values, _EXACT), evaluate(right, values, _EXACT)
        same = a == b if tolerance is None else abs(a - b) <= tolerance
        return Outcome.EQUAL if same else Outcome.DIFFERENT
    except Inexact:
        return _at_float_point(left, right, values, tolerance)
    except ZeroDivisionError:
        return Outcome.DIFFERENT if not values else Outcome.UNKNOWN


def _floats(values: dict[str, Fraction]) -> dict[str, complex]:
    return {name: complex(float(value)) for name, value in values.items()}


def _at_float_point(left: Node, right: Node, values: dict[str, Any], tolerance: Fraction | None) -> Outcome:
    domain = Float()
    numbers = _floats(values)
    try:
        a, b = evaluate(left, numbers, domain), evaluate(right, numbers, domain)
    except ZeroDivisionError:
        return Outcome.DIFFERENT if not values else Outcome.UNKNOWN
    size = max(abs(a), abs(b))
    if not math.isfinite(size):
        raise TooLarge("not finite")
    if tolerance is not None:
        return Outcome.EQUAL if abs(a - b) <= float(tolerance) * (1 + 1e-9) else Outcome.DIFFERENT
    cancelled = domain.peak > 1e9 * size
    return Outcome.DIFFERENT if abs(a - b) > _CLEARLY * size and not cancelled else Outcome.UNKNOWN


def compare_equations(left: tuple[str, str], right: tuple[str, str]) -> Outcome:
    """Whether two equations, each as its two sides, have one solution set: lhs - rhs is the same up to a factor."""
    trees = [cached_tree(side) for side in (*left, *right)]
    if any(tree is None for tree in trees):
        return Outcome.UNKNOWN
    a: Node = ("sub", trees[0], trees[1])
    b: Node = ("sub", trees[2], trees[3])
    if variables(a) != variables(b):
        return Outcome.DIFFERENT
    domain = Float()
    try:
        pairs = [
            (evaluate(a, numbers, domain), evaluate(b, numbers, domain))
            for numbers in map(_floats, points(a, b))
        ]
    except (TooLarge, Unsupported, ZeroDivisionError):
        return Outcome.UNKNOWN
    (a0, b0), *rest = pairs
    if not rest or a0 == 0 or b0 == 0:
        return Outcome.EQUAL if a0 == b0 == 0 and not rest else Outcome.UNKNOWN
    same = all(abs(a1 * b0 - a0 * b1) <= 1e-9 * (abs(a1 * b0) + abs(a0 * b1)) for a1, b1 in rest)
    return Outcome.EQUAL if same else Outcome.DIFFERENT


def is_rounding_of(decimal: str, places: int, tree: Node) -> bool:
    """Whether ``decimal`` is the value of a constant ``tree`` rounded to its ``places`` digits after the point."""
    value = _real(tree)
    if value is None:
        return False
    return abs(value - float(decimal)) <= 0.5 * 10**-places * (1 + 1e-6) + _DOUBLE * abs(value) * (
        places > 12
    )


def real_value(text: str) -> float | None:
    """The value of a real constant, None for anything else."""
    tree = cached_tree(text)
    return None if tree is None else _real(tree)


def _real(tree: Node) -> float | None:
    if variables(tree):
        return None
    try:
        value = evaluate(tree, {}, Float())
    except (TooLarge, Unsupported, ZeroDivisionError):
        return None
    return float(value.real) if abs(value.imag) <= 1e-12 * abs(value) else None
