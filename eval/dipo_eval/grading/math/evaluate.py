"""Evaluate a parsed expression exactly (rationals) or in floating point.

Nothing here can hang: an exponent, factorial or exact integer beyond its limit raises ``TooLarge`` before it is computed.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

from dipo_eval.grading.math.expression import BOUND, Node
from dipo_eval.grading.math.tokens import Unsupported

MAX_BITS = 20_000
MAX_FACTORIAL = 3000
MAX_TERMS = 2000
"""Of a sum or product over an index."""
_CMATH_NAMES = {"arcsin": "asin", "arccos": "acos", "arctan": "atan", "ln": "log"}
_RECIPROCALS = {"cot": cmath.tan, "sec": cmath.cos, "csc": cmath.sin}


class TooLarge(Exception):  # noqa: N818  (an outcome, not a fault)
    """The value is too large to work with."""


class Inexact(Exception):  # noqa: N818  (an outcome, not a fault)
    """The value is not rational, or not known to be."""


class Exact:
    """Rational arithmetic."""

    def number(self, value: Fraction) -> Any:
        return value

    def constant(self, name: str) -> Any:
        raise Inexact(name)

    def total(self, a: Any, b: Any) -> Any:
        return _sized(a + b)

    def power(self, base: Fraction, exponent: Fraction) -> Fraction:
        if exponent.denominator != 1:
            raise Inexact("root")
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if abs(base) not in (0, 1) and bits * abs(exponent) > MAX_BITS:
            raise TooLarge("power")
        return base ** int(exponent)

    def function(self, name: str, arguments: list[Any]) -> Any:
        if name == "sqrt":
            return _exact_root(arguments[0])
        if name == "abs":
            return abs(arguments[0])
        if name in ("floor", "ceil"):
            return Fraction(getattr(math, name)(arguments[0]))
        if name in ("max", "min"):
            return max(arguments) if name == "max" else min(arguments)
        if name in INTEGER_FUNCTIONS:
            return Fraction(INTEGER_FUNCTIONS[name](*arguments))
        raise Inexact(name)

    def endless(self, name: str, lower: int, term: Any) -> Any:
        raise Inexact("an endless sum")


def _factorial(value: Fraction) -> int:
    return math.factorial(bounded_integer(value))


def _double_factorial(value: Fraction) -> int:
    return math.prod(range(bounded_integer(value), 0, -2))


def _binomial(top: Fraction, bottom: Fraction) -> int:
    n, k = _natural(top), _natural(bottom)
    if min(k, abs(n - k)) * n.bit_length() > 2 * MAX_BITS:
        raise TooLarge("binomial")
    return math.comb(n, k)


INTEGER_FUNCTIONS: dict[str, Callable[..., int]] = {
    "factorial": _factorial,
    "factorial2": _double_factorial,
    "binom": _binomial,
    "gcd": lambda *values: math.gcd(*map(_natural, values)),
    "lcm": lambda *values: math.lcm(*map(_natural, values)),
}
"""Functions of natural numbers, by their name in a tree."""


class Float:
    """Complex floating point. ``peak`` is the largest summand met, a measure of cancellation."""

    def __init__(self) -> None:
        self.peak = 0.0

    def number(self, value: Fraction) -> Any:
        return complex(float(value))

    def constant(self, name: str) -> Any:
        return {"pi": complex(math.pi), "e": complex(math.e), "i": 1j}[name]

    def total(self, a: Any, b: Any) -> Any:
        self.peak = max(self.peak, abs(a), abs(b))
        return a + b

    def power(self, base: complex, exponent: complex) -> complex:
        if base == 0:
            if exponent == 0:
                return 1 + 0j
            if exponent.real < 0:
                raise ZeroDivisionError
            return 0j
        return base**exponent

    def function(self, name: str, arguments: list[Any]) -> Any:
        argument = arguments[0]
        if name == "sqrt_base":
            return real_root(self, argument, arguments[1])
        if name == "log_base":
            return cmath.log(argument) / cmath.log(arguments[1])
        if name in _RECIPROCALS:
            return 1 / _RECIPROCALS[name](argument)
        if name == "abs":
            return complex(abs(argument))
        if name in ("max", "min"):
            if any(one.imag for one in arguments):
                raise Unsupported("order of complex numbers")
            return complex((max if name == "max" else min)(one.real for one in arguments))
        if name in ("floor", "ceil") or name in INTEGER_FUNCTIONS:
            return self._integer_function(name, arguments)
        return getattr(cmath, _CMATH_NAMES.get(name, name))(argument)

    def _integer_function(self, name: str, arguments: list[complex]) -> complex:
        value = arguments[0].real
        if name in ("floor", "ceil"):
            nearest = round(value)
            if abs(value - nearest) < 1e-9 * max(1.0, abs(nearest)):  # on the edge: rounding must not decide
                return complex(nearest)
            return complex(getattr(math, name)(value))
        whole = [Fraction(round(argument.real)) for argument in arguments]
        if any(abs(argument - int(n)) > 1e-9 for argument, n in zip(arguments, whole, strict=True)):
            raise Unsupported("factorial of a fraction")
        return complex(float(Exact().function(name, whole)))

    def endless(self, name: str, lower: int, term: Any) -> Any:
        raise Unsupported("an endless sum")


def evaluate(node: Node, values: Mapping[str, Any], domain: Any) -> Any:
    """The value of ``node`` in ``domain`` (Exact, Float or one with the same methods), variables from ``values``.

    Raises Inexact, TooLarge (also for a float overflow), ZeroDivisionError, and Unsupported where there is no value.
    """
    try:
        return _evaluate(node, values, domain)
    except OverflowError:
        raise TooLarge("overflow") from None
    except ValueError:
        raise ZeroDivisionError from None  # log(0), a pole of tan


def _evaluate(node: Node, values: Mapping[str, Any], domain: Any) -> Any:
    kind = node[0]
    if kind == "num":
        return domain.number(node[1])
    if kind == "const":
        return domain.constant(node[1])
    if kind == "var":
        return values[node[1]]
    # A long flat sum or product is a left-leaning chain: walk it in a loop, not by recursion.
    if kind in ("add", "sub", "mul", "div"):
        chain = []
        while node[0] in ("add", "sub", "mul", "div"):
            chain.append((node[0], node[2]))
            node = node[1]
        result = _evaluate(node, values, domain)
        for operator, right in reversed(chain):
            result = _binary(operator, result, _evaluate(right, values, domain), domain)
        return result
    if kind in ("sum", "prod"):
        return _series(node, values, domain)
    arguments = [_evaluate(child, values, domain) for child in node[1:]]
    if kind == "neg":
        return -arguments[0]
    if kind == "pow":
        root = _odd_root(node[2])
        if root and not isinstance(arguments[0], Fraction):  # (-8)^{1/3} is -2
            top, bottom = (domain.number(Fraction(number)) for number in root)
            return domain.power(real_root(domain, arguments[0], bottom), top)
        return domain.power(arguments[0], arguments[1])
    return domain.function(kind, arguments)


def _odd_root(exponent: Node) -> tuple[int, int] | None:
    """(p, q) of an exponent p/q with an odd denominator."""
    if exponent[0] != "div" or exponent[1][0] != "num" or exponent[2][0] != "num":
        return None
    top, bottom = exponent[1][1], exponent[2][1]
    whole = top.denominator == bottom.denominator == 1 and bottom % 2 == 1
    return (int(top), int(bottom)) if whole else None


def _series(node: Node, values: Mapping[str, Any], domain: Any) -> Any:
    """A sum or product over an index, term by term."""
    name, lower, upper, term, index = node

    def term_at(number: int) -> Any:
        return _evaluate(term, {**values, index[1]: domain.number(Fraction(number))}, domain)

    first = _whole(_evaluate(lower, values, domain))
    if upper == ("const", "infty"):
        return domain.endless(name, first, term_at)
    last = _whole(_evaluate(upper, values, domain))
    if last - first > MAX_TERMS:
        raise TooLarge("sum")
    result = domain.number(Fraction(0 if name == "sum" else 1))
    for number in range(first, last + 1):
        one = term_at(number)
        result = domain.total(result, one) if name == "sum" else _sized(result * one)
    return result


def _whole(value: Any) -> int:
    real = value if isinstance(value, Fraction) else value.real
    nearest = round(real)
    if abs(value - nearest) > 1e-9 or abs(nearest) > 10**9:
        raise Unsupported("the limit of a sum")
    return int(nearest)


def _binary(operator: str, a: Any, b: Any, domain: Any) -> Any:
    if operator == "add":
        return domain.total(a, b)
    if operator == "sub":
        return domain.total(a, -b)
    return _sized(a * b) if operator == "mul" else _sized(a / b)


def _nodes(node: Node) -> Iterator[Node]:
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        if current[0] not in ("num", "const", "var"):
            stack.extend(current[1:])


def variables(node: Node) -> frozenset[str]:
    """Names of the variables in ``node``, without the indices of sums."""
    return frozenset(one[1] for one in _nodes(node) if one[0] == "var" and one[1][0] != BOUND)


def uses(node: Node, kinds: frozenset[str]) -> bool:
    """Whether an operator or function of ``kinds`` occurs in ``node``."""
    return any(one[0] in kinds for one in _nodes(node))


def bounded_integer(value: Fraction) -> int:
    """``value`` as an int in [0, MAX_FACTORIAL]; raises Unsupported or TooLarge."""
    if _natural(value) > MAX_FACTORIAL:
        raise TooLarge("factorial")
    return int(value)


def _natural(value: Fraction) -> int:
    if value.denominator != 1 or value < 0:
        raise Unsupported("an integer function of a negative number or a fraction")
    return int(value)


def real_root(domain: Any, value: Any, degree: Any) -> Any:
    """The real root of a negative number where the degree is odd, as in school, else the principal one."""
    odd = degree.imag == 0 and degree.real == int(degree.real) and int(degree.real) % 2 == 1
    if odd and value.imag == 0 and value.real < 0:
        return -domain.power(-value, 1 / degree)
    return domain.power(value, 1 / degree)


def _exact_root(value: Fraction) -> Fraction:
    if value < 0:
        raise Inexact("imaginary")
    top, bottom = math.isqrt(value.numerator), math.isqrt(value.denominator)
    if top * top != value.numerator or bottom * bottom != value.denominator:
        raise Inexact("surd")
    return Fraction(top, bottom)


def _sized(value: Any) -> Any:
    is_exact = isinstance(value, Fraction)
    if is_exact and value.numerator.bit_length() + value.denominator.bit_length() > 2 * MAX_BITS:
        raise TooLarge("number")
    return value
