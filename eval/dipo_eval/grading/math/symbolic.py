"""The slow comparison, which runs only in a worker process that its parent kills at the time limit."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from dipo_eval import linear
from dipo_eval.grading.math.compare_closed_forms import cached_tree, points
from dipo_eval.grading.math.compare_parts import compare_answers
from dipo_eval.grading.math.evaluate import INTEGER_FUNCTIONS, Float, TooLarge, evaluate, real_root, variables
from dipo_eval.grading.math.expression import Node
from dipo_eval.grading.math.outcome import Outcome
from dipo_eval.grading.math.tokens import GREEK, Unsupported

DIGITS = 60
"""Working precision; two closed forms that agree to 40 digits at six points are taken as equal."""
_COMMANDS = (
    "frac", "sqrt", "cdot", "times", "div", "pi", "infty", "int", "sum", "prod", "sin", "cos", "tan", "cot",
    "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "ln", "log", "exp", "binom", "lfloor", "rfloor",
    "lceil", "rceil", "cup", "cap", "mathbb\\{[RZNQC]\\}", "emptyset", *(name[1:] for name in sorted(GREEK)),
)  # fmt: skip
_OUTSIDE = linear.bounded(
    rf"\\(?:{'|'.join(_COMMANDS)}|[{{}}])(?![a-zA-Z])|[0-9.]|(?<![a-zA-Z])(?:[a-zA-Z]{{1,2}}|sin|cos|tan|log|exp)(?![a-zA-Z])"
    r"|[-+*/^_(){}\[\]|!,\s]"
)
_NO_OPERAND = linear.bounded(r"\^\s?\{?\s?[-+*]\s?(?:\}|\Z)")  # 42^{+}
_NEIGHBOURS = linear.bounded(r"(?:^|[^\^_0-9.])[0-9.]{1,20}\s{1,9}[0-9]")
_MAX_EXPONENT = 10**7
_RECIPROCALS = {"cot": "tan", "sec": "cos", "csc": "sin"}


class High(Float):
    """Complex arithmetic with ``DIGITS`` digits (mpmath)."""

    def __init__(self) -> None:
        super().__init__()
        from mpmath import mp

        self.mp = mp
        mp.dps = DIGITS

    def number(self, value: Fraction) -> Any:
        return self.mp.mpc(self.mp.mpf(value.numerator) / value.denominator)

    def constant(self, name: str) -> Any:
        return {"pi": self.mp.mpc(self.mp.pi), "e": self.mp.mpc(self.mp.e), "i": self.mp.mpc(0, 1)}[name]

    def power(self, base: Any, exponent: Any) -> Any:
        if abs(exponent) > _MAX_EXPONENT:
            raise TooLarge("exponent")
        return self.mp.power(base, exponent)

    def function(self, name: str, arguments: list[Any]) -> Any:
        mp = self.mp
        value = arguments[0]
        if name == "sqrt_base":
            return real_root(self, value, arguments[1])
        if name == "log_base":
            return mp.log(value) / mp.log(arguments[1])
        if name in ("floor", "ceil"):
            nearest = mp.nint(value.real)
            return mp.mpc(nearest if abs(value.real - nearest) < 1e-40 else getattr(mp, name)(value.real))
        if name in INTEGER_FUNCTIONS:
            return mp.mpc(INTEGER_FUNCTIONS[name](*map(_as_fraction, arguments)))
        if name in ("max", "min"):
            return mp.mpc((max if name == "max" else min)(one.real for one in arguments))
        if name in _RECIPROCALS:
            return 1 / getattr(mp, _RECIPROCALS[name])(value)
        names = {"ln": "log", "abs": "fabs", "arcsin": "asin", "arccos": "acos", "arctan": "atan"}
        return mp.mpc(getattr(mp, names.get(name, name))(value))

    def endless(self, name: str, lower: int, term: Any) -> Any:
        """An endless sum or product, by extrapolation: to fewer digits than a closed form."""
        mp = self.mp
        total = (mp.nsum if name == "sum" else mp.nprod)(lambda number: term(int(number)), [lower, mp.inf])
        if not mp.isfinite(total):
            raise Unsupported("no limit")
        return mp.mpc(total)


def _as_fraction(value: Any) -> Fraction:
    nearest = int(value.real + 0.5) if value.real >= 0 else -1
    if abs(value - nearest) > 1e-40:
        raise Unsupported("not an integer")
    return Fraction(nearest)


def compare_symbolically(answer: str, gold: str, tolerance: Fraction | None) -> Outcome:
    """Two cleaned single answers: by value to 40 digits where our parser reads both, otherwise by math-verify."""
    left, right = cached_tree(answer), cached_tree(gold)
    outcome = compare_to_many_digits(left, right, tolerance) if left and right else Outcome.UNKNOWN
    return by_math_verify(answer, gold) if outcome is Outcome.UNKNOWN else outcome


def compare_to_many_digits(left: Node, right: Node, tolerance: Fraction | None) -> Outcome:
    """EQUAL or DIFFERENT by value at the fixed ``points``; UNKNOWN where there is no value."""
    domain = High()
    bound = None if tolerance is None else domain.mp.mpf(tolerance.numerator) / tolerance.denominator
    tried = 0
    try:
        for values in points(left, right):
            numbers = {name: domain.number(value) for name, value in values.items()}
            try:
                a, b = evaluate(left, numbers, domain), evaluate(right, numbers, domain)
            except ZeroDivisionError:
                continue
            tried += 1
            size = max(abs(a), abs(b), domain.mp.mpf(domain.peak) * domain.mp.mpf(10) ** -10)
            if abs(a - b) > (domain.mp.mpf(10) ** -40 * size if bound is None else bound):
                return Outcome.DIFFERENT
    except TooLarge:
        return Outcome.TOO_LARGE
    except Unsupported:
        return Outcome.UNKNOWN
    return Outcome.EQUAL if tried >= (3 if variables(left) | variables(right) else 1) else Outcome.UNKNOWN


def is_read_wholly(text: str) -> bool:
    """Whether ``text`` has only notation that math-verify reads to its end.

    It takes a part that it can read for the whole: the 3 of ``n \\equiv 3 \\pmod 4``, the 43 of ``42 \\to 43``.
    """
    if (
        text.endswith((*"-+*/^_", r"\times", r"\cdot", r"\div"))
        or text.count("|") % 2
        or _NO_OPERAND.search(text)
    ):
        return False
    return not _OUTSIDE.sub("", text) and not _NEIGHBOURS.search(text)


def by_math_verify(answer: str, gold: str) -> Outcome:
    """math-verify's verdict where it reads both wholly (``is_read_wholly``), else DIFFERENT.

    Without its alarm signals: the parent's time limit holds instead.

    It reads a bare ``\\frac{9}{7}`` only between dollar signs. Each side is one answer here, so that its rule that any
    of several answers may match cannot help a hedge.
    """
    if not (is_read_wholly(answer) and is_read_wholly(gold)):
        return Outcome.DIFFERENT
    from math_verify import parse, verify

    wanted, given = (parse(f"${text}$", parsing_timeout=None) for text in (gold, answer))
    same = bool(wanted and given) and verify(wanted, given, timeout_seconds=None)
    return Outcome.EQUAL if same else Outcome.DIFFERENT


def answer_comparison(task: dict[str, Any]) -> dict[str, Any]:
    """A worker's ``compare_answers``, with the symbolic method for every part that the fast rules leave open."""
    tolerance = None if task["tolerance"] is None else Fraction(task["tolerance"])
    return {"outcome": compare_answers(task["answer"], task["gold"], tolerance, compare_symbolically).name}
