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
)
from dipo_eval.grading.math.normalize import key
from dipo_eval.grading.math.outcome import Outcome
from dipo_eval.grading.math.quantity import (
    Quantity,
    parse_number,
    read_quantity,
    rounded_places,
    units_conflict,
)

Strong = Callable[[str, str, Fraction | None], Outcome]
"""(answer, gold, tolerance) -> Outcome: what decides a pair that is UNKNOWN here."""

_WORDS = linear.compile(r"[A-Za-z][A-Za-z'\u2019\- ]*[A-Za-z]\Z")
_PROSE = linear.bounded(r"(?<![\\A-Za-z])[A-Za-z]{4}")
_CHOICE = linear.compile(r"\(?\s*([A-Z])\s*\)?\Z")
_CHOICE_WITH_TEXT = linear.compile(r"(?:option |choice )?\(?([A-Z])(?:\)|[.:]| *\Z)", re.IGNORECASE)
_LABEL = linear.compile(r"[A-Za-z\\][^+*/^=-]*\Z")
_ARTICLES = linear.compile(r"^(?:the|an?)\s+", re.IGNORECASE)
_LOG_TEN = linear.compile(r"\\log\s*_\s*\{?\s*10(?:\D|\Z)")
_LOG = linear.compile(r"\\log([a-zA-Z]|\s*_)?")  # base 10 where the gold answer says so, else natural
_FOLDED_AWAY = linear.bounded(r"[\s'\u2019()-]")
_RELATION_KINDS = {"<": "strict", ">": "strict", r"\le": "weak", r"\ge": "weak", r"\ne": "unequal"}
_RELATION = linear.bounded(r"[<>]|\\(?:le|ge|ne)(?![a-zA-Z])")
_EQUALS = linear.bounded(r"(?<![<>!:])=")


def compare_single(answer: str, gold: str, tolerance: Fraction | None, strong: Strong) -> Outcome:
    """Compare two cleaned single answers; ``strong`` is called only where the rules here do not decide."""
    if tolerance is None and key(answer) == key(gold):
        return Outcome.EQUAL
    if _relations(answer) != _relations(gold):
        return Outcome.DIFFERENT
    if "=" in answer or "=" in gold:
        return _with_equations(answer, gold, tolerance, strong)
    wanted = read_quantity(gold, bare_letters=False)
    given = read_quantity(answer, bare_letters=wanted.number is not None)
    if given.base or wanted.base:
        return _in_bases(given, wanted)
    if units_conflict(given.unit, wanted.unit):
        return Outcome.DIFFERENT
    if given.number is not None and wanted.number is not None:
        return _numbers(given, given.number, wanted, wanted.number, tolerance)
    words = _words(answer, gold)
    return _closed_forms(given.text, wanted.text, tolerance, strong) if words is None else words


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
    if places is None or 2 * abs(Fraction(text) - exact) * 10**places > 1:
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
    if len(gold) > 2 and _WORDS.match(gold):
        if _folded(answer) == _folded(gold):
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
    given = [side.strip() for side in _EQUALS.split(answer)]
    if not given[-1]:
        return Outcome.DIFFERENT
    wanted = [side.strip() for side in _EQUALS.split(gold)]
    if len(wanted) == 1:
        return compare_single(given[-1], gold, tolerance, strong) if given[-1] != answer else Outcome.UNKNOWN
    if len(given) == 1:
        if not _LABEL.match(wanted[0]) or wanted[-1] == gold:
            return Outcome.DIFFERENT
        return compare_single(answer, wanted[-1], tolerance, strong)
    if key(given[0]) == key(wanted[0]):
        return compare_single(given[-1], wanted[-1], tolerance, strong)
    outcome = compare_equations((given[0], given[-1]), (wanted[0], wanted[-1]))
    return strong(answer, gold, tolerance) if outcome is Outcome.UNKNOWN else outcome
