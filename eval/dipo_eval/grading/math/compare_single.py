"""Compare two single answers: numbers, quantities, words, choices, equations, closed forms."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from dipo_eval import linear
from dipo_eval.grading.math.compare_closed_forms import (
    cached_tree,
    compare_equations,
    compare_expressions,
    is_rounding_of,
    real_value,
)
from dipo_eval.grading.math.equations import is_approximate, is_name, sides_of, with_argument_of
from dipo_eval.grading.math.normalize import key
from dipo_eval.grading.math.notations import compare_notations
from dipo_eval.grading.math.outcome import Outcome, any_of
from dipo_eval.grading.math.peel import said_of, without_currency
from dipo_eval.grading.math.plain_numbers import parse_number, rounded_places
from dipo_eval.grading.math.quantity import Quantity, in_radians, read_quantity, units_conflict

Strong = Callable[[str, str, Fraction | None], Outcome]
"""(answer, gold, tolerance) -> Outcome: what decides a pair that is UNKNOWN here."""

_WORDS = linear.compile(r"[A-Za-z][A-Za-z'\u2019\- ]*[A-Za-z]\Z")
_LETTER_ALONE = linear.bounded(r"(?<![A-Za-z])[B-Zb-z](?![A-Za-z'])")  # p - q is a difference
_PROSE = linear.bounded(r"(?<![\\A-Za-z])[A-Za-z]{4}")
_CHOICE = linear.compile(r"\(?\s*([A-Z])\s*\)?\Z")
_CHOICE_WITH_TEXT = linear.compile(r"(?:option |choice )?\(?([A-Z])(?:\)|[.:]| *\Z)", re.IGNORECASE)
_OPTION = linear.bounded(r"(?:\([A-H]\)|[A-H][.:)]) ?(?=[\d\\(+-])")
_ARTICLES = linear.compile(r"^(?:the|an?|on)\s+", re.IGNORECASE)
_LOG_TEN = linear.compile(r"\\log\s*_\s*\{?\s*10(?:\D|\Z)")
_LOG = linear.compile(r"\\log([a-zA-Z]|\s*_)?")  # base 10 where the gold answer says so, else natural
_FOLDED_AWAY = linear.bounded(r"[\s'\u2019()-]")
_DOUBLE_DIGITS = 15
_RELATION_KINDS = {"<": "strict", ">": "strict", r"\le": "weak", r"\ge": "weak", r"\ne": "unequal"}
_RELATION = linear.bounded(r"[<>]|\\(?:le|ge|ne)(?![a-zA-Z])")
_EXTREME = linear.bounded(r"_\{?\\?(?:min|max|text\{(?:min|max)\})\}?")  # M_{\min} names what M does
_NEGATED = linear.compile(r"-\s?[a-zA-Z]\Z")  # -x = 4 says that x is -4
_EQUATION = ("=", r"\equiv", r"\approx")


def compare_single(answer: str, gold: str, tolerance: Fraction | None, strong: Strong) -> Outcome:
    """Compare two cleaned single answers; ``strong`` is called only where the rules here do not decide."""
    if tolerance is None and key(answer) == key(gold):
        return Outcome.EQUAL
    if _relations(answer) != _relations(gold):
        return Outcome.DIFFERENT
    answer, gold = without_currency(answer), without_currency(gold)
    option = None if _CHOICE.match(gold) else _OPTION.match(answer)
    if option:
        answer = answer[option.end() :]
    if any(sign in answer or sign in gold for sign in _EQUATION):
        given_sides, wanted_sides = sides_of(answer), sides_of(gold)
        if len(given_sides) > 1 or len(wanted_sides) > 1:
            return _with_equations(answer, gold, tolerance, strong)
    wanted = read_quantity(gold, bare_letters=False)
    given = read_quantity(answer, bare_letters=wanted.number is not None)
    if given.base or wanted.base:
        return _in_bases(given, wanted)
    is_share = (given.percent and wanted.unit) or (wanted.percent and given.unit)
    if is_share or units_conflict(given.unit, wanted.unit):
        return Outcome.DIFFERENT
    if given.number is not None and wanted.number is not None:
        return _numbers(given, given.number, wanted, wanted.number, tolerance)
    special = compare_notations(answer, gold)
    if special is not None:
        return special
    words = _words(answer if _CHOICE.match(gold) or _PROSE.search(gold) else given.text, gold)
    if words is not None:
        return words
    return _closed_forms(in_radians(given, wanted), in_radians(wanted, given), tolerance, strong)


def _relations(text: str) -> set[str]:
    """Kinds of inequality in ``text``: math-verify takes "at most 25" for 25."""
    if not any(sign in text for sign in ("<", ">", "\\")):
        return set()
    return {_RELATION_KINDS[match[0]] for match in _RELATION.finditer(text)}


def _numbers(
    answer: Quantity, a: Fraction, gold: Quantity, g: Fraction, tolerance: Fraction | None
) -> Outcome:
    if _near(a, g, tolerance):
        return Outcome.EQUAL
    if answer.percent != gold.percent:  # 10% is 0.1, and "10" means it where the gold is in percent
        a, g = (a / 100, g) if answer.percent else (a, g / 100)
        return Outcome.EQUAL if _near(a, g, tolerance) else Outcome.DIFFERENT
    rounded = tolerance is None and (_is_rounding(answer.text, g) or _is_rounding(gold.text, a))
    return Outcome.EQUAL if rounded else Outcome.DIFFERENT


def _near(a: Fraction, g: Fraction, tolerance: Fraction | None) -> bool:
    return a == g if tolerance is None else abs(a - g) <= tolerance


def _is_rounding(text: str, exact: Fraction) -> bool:
    """Whether the decimal ``text`` is ``exact``, which no decimal is, rounded to its digits."""
    places = rounded_places(text)
    if places is None:
        return False
    difference = abs(Fraction(text) - exact)
    if len(text) > _DOUBLE_DIGITS and difference * 10**14 <= abs(
        exact
    ):  # a program printed all digits of a double
        return True
    if 2 * difference * 10**places > 1:
        return False
    return 10 ** exact.denominator.bit_length() % exact.denominator != 0


def _in_bases(answer: Quantity, gold: Quantity) -> Outcome:
    """Digits count, not values: where base 5 is required, base 10 is no answer. The base may be left out."""
    if answer.base and gold.base and answer.base != gold.base:
        return Outcome.DIFFERENT
    same = key(answer.text).lstrip("0").lower() == key(gold.text).lstrip("0").lower()
    return Outcome.EQUAL if same else Outcome.DIFFERENT


def _words(answer: str, gold: str) -> Outcome | None:
    """Decide words and choice letters; None where neither side is one."""
    choice = _CHOICE.match(gold)
    if choice:
        given = _CHOICE.match(answer) or _CHOICE_WITH_TEXT.match(answer)
        if given:
            return Outcome.EQUAL if given[1].upper() == choice[1] else Outcome.DIFFERENT
        return None
    if len(gold) > 2 and _WORDS.match(gold) and not _LETTER_ALONE.search(gold):
        if _folded(gold) in (_folded(answer), _folded(said_of(answer))):
            return Outcome.EQUAL
        return Outcome.DIFFERENT if cached_tree(gold) is None else None  # abc may be a product
    if _PROSE.search(answer) and not _PROSE.search(gold) and cached_tree(answer) is None:
        return Outcome.DIFFERENT
    return None


def _folded(text: str) -> str:
    return _FOLDED_AWAY.sub("", _ARTICLES.sub("", text.strip("() "))).casefold()


def _closed_forms(answer: str, gold: str, tolerance: Fraction | None, strong: Strong) -> Outcome:
    if tolerance is None and (key(answer) == key(gold) or _rounds(answer, gold) or _rounds(gold, answer)):
        return Outcome.EQUAL
    if r"\log" in answer and _LOG_TEN.search(gold):
        answer = _LOG.sub(lambda match: match[0] if match[1] else r"\log_{10} ", answer)
    outcome = compare_expressions(answer, gold, tolerance)
    return strong(answer, gold, tolerance) if outcome is Outcome.UNKNOWN else outcome


def _rounds(decimal: str, exact: str) -> bool:
    """Whether ``decimal`` is the closed form ``exact`` rounded to its digits."""
    places = rounded_places(decimal)
    tree = None if places is None else cached_tree(exact)
    return tree is not None and parse_number(exact) is None and is_rounding_of(decimal, places or 0, tree)


def _with_equations(answer: str, gold: str, tolerance: Fraction | None, strong: Strong) -> Outcome:
    given, wanted = sides_of(answer), sides_of(gold)
    if not given[-1][1]:
        return Outcome.DIFFERENT
    if len(wanted) == 1:
        if _NEGATED.match(given[0][1]):
            return Outcome.DIFFERENT
        return _chain(given, gold, tolerance, strong)
    last = _value_side(wanted)
    if len(given) == 1:
        return compare_single(answer, last, tolerance, strong) if is_name(wanted[0][1]) else Outcome.DIFFERENT
    left, right = given[0][1], given[-1][1]
    renamed = with_argument_of(left, wanted[0][1], right)
    if renamed is not None:
        return compare_single(renamed, last, tolerance, strong)
    if key(wanted[0][1]) in (key(left), _EXTREME.sub("", key(left))):
        return _chain(given[1:], last, tolerance, strong)
    outcome = compare_equations((left, right), (wanted[0][1], wanted[-1][1]))
    return (
        Outcome.DIFFERENT if outcome is Outcome.UNKNOWN else outcome
    )  # of what is not read, only the text is equal


def _value_side(sides: list[tuple[str, str]]) -> str:
    """The side that has the exact value: the last one that is not only approximate."""
    return next((text for sign, text in reversed(sides) if not is_approximate(sign)), sides[-1][1])


def _chain(sides: list[tuple[str, str]], gold: str, tolerance: Fraction | None, strong: Strong) -> Outcome:
    """A chain such as ``x = 3/4 = 0.75``: its last exact side is the answer, and every other number in it must agree.

    A rounded value after ``\\approx`` may itself be the gold; it must be the rounding of the exact side.
    """
    exact = [text for sign, text in sides if not is_approximate(sign)]
    value = exact[-1]
    known = _real(value)
    for text in exact[:-1]:
        other = _real(text)
        if other is not None and not (known is not None and _agree(other, known, "%" in value)):
            return Outcome.DIFFERENT
    rounded = [text for sign, text in sides if is_approximate(sign)]
    if known is not None and any(not _is_roughly(text, known) for text in rounded):
        return Outcome.DIFFERENT
    outcomes = [compare_single(text, gold, tolerance, strong) for text in (value, *rounded)]
    return any_of(outcomes)


def _agree(one: float, other: float, in_percent: bool) -> bool:
    """Whether two sides have one value; ``in_percent``: 3/4 = 75%, and 3/4 * 100 = 75%."""
    return any(
        abs(one - scale * other) <= 1e-9 * max(abs(one), abs(other))
        for scale in ((1, 100) if in_percent else (1,))
    )


def _real(text: str) -> float | None:
    """The value of a side without its unit; of percents, the share."""
    quantity = read_quantity(text, bare_letters=True)
    value = real_value(quantity.text)
    return value / 100 if value is not None and quantity.percent else value


def _is_roughly(text: str, exact: float) -> bool:
    """Whether a decimal is ``exact``, rounded or cut to its digits; true for what is no decimal."""
    quantity = read_quantity(text, bare_letters=True)
    number = parse_number(quantity.text)
    if number is None:
        return True
    places = len(quantity.text.partition(".")[2])
    if quantity.percent:
        number, places = number / 100, places + 2
    return abs(float(number) - exact) <= (1.0 if places else 0.51) * 10**-places * (1 + 1e-9)
