"""Take a unit, a percent sign, a degree sign or a number base off a value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from dipo_eval import linear

_ALIASES = {
    "cm": "centimeter centimetre",
    "mm": "millimeter millimetre",
    "km": "kilometer kilometre",
    "m": "meter metre",
    "in": "inch inche",
    "ft": "foot feet",
    "yd": "yard",
    "mi": "mile",
    "s": "second sec",
    "min": "minute",
    "h": "hour hr",
    "day": "",
    "week": "",
    "month": "",
    "year": "",
    "g": "gram",
    "kg": "kilogram",
    "mg": "milligram",
    "lb": "pound",
    "oz": "ounce",
    "l": "liter litre L",
    "ml": "milliliter millilitre mL",
    "dollar": "usd buck",
    "cent": "",
    "degree": "deg",
    "radian": "rad",
    "unit": "",
}
_UNITS = {word: unit for unit, words in _ALIASES.items() for word in (unit, *words.split())}
_SINGLE_LETTER = frozenset("msghlL")
_SYMBOLS = frozenset({"Hz", "eV", "Pa", "kJ", "kW", "kV", "kN"})  # with these capitals they are no product
_MULTIPLIERS = {
    "dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12,
}  # fmt: skip
_NOT_UNITS = frozenset((
    "or", "and", "not", "to", "minus", "plus", "times", "over", "less", "more", "than", "least", "most",
    "half", "squared", "cubed", "between", "pi", "sqrt", "but", "if", "i", "e", "either", "neither", "nor", "maybe",
    "possibly", "perhaps",
))  # fmt: skip
_TRAILING_WORDS = linear.compile(  # a word begins after white space or where a value cannot go on
    r"(?P<value>.*?(?:[\d)}\]!]|[a-zA-Z]\s))\s*(?P<words>[A-Za-z]+(?:[\s/]+[A-Za-z]+){0,5})"
    r"(?P<power>\s*\^\s*\{?\s*-?[23]\s*\}?)?\Z"
)
_WORD = linear.bounded(r"(?<![\\A-Za-z])[A-Za-z]{2}")
_VALUE_STARTS = frozenset("0123456789.+-\\(")
_BASE = linear.compile(r"(?P<digits>[0-9A-Fa-f]+(?:\.[0-9]+)?)\s*_\s*\{?\s*(?P<base>\d{1,2}|[a-z]+)\s*\}?\Z")
_BASE_WORDS = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "sixteen": 16,
}  # fmt: skip
_LEADING = linear.compile(
    r"(?:(?:approximately|about|roughly|exactly|simply|just|only|a total of|is|are|be)\s+"
    r"|\\approx\s*|=\s*|~\s*)+",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value with what stood around it. ``unit`` is None where none was given, ``scale`` a word such as
    million.
    """

    text: str
    unit: str | None = None
    percent: bool = False
    base: int | None = None
    scale: Fraction = Fraction(1)


def parse_quantity(text: str, *, bare_letters: bool) -> Quantity:
    """Take the unit off cleaned ``text``.

    ``bare_letters``: also read a single letter after a space as a unit (``18 m^2``); only safe where the
    other answer is a plain number, since ``6 m`` may be a product.
    """
    leading = _LEADING.match(text)
    if leading:
        text = text[leading.end() :]
    if text.endswith("%"):
        return Quantity(text.rstrip("% "), percent=True)
    if text.endswith("°"):
        return Quantity(text.rstrip("° "), unit="degree")
    base = _BASE.match(text)
    if base:
        return _in_base(text, base)
    return _without_words(text, bare_letters)


def _in_base(text: str, match: linear.Match) -> Quantity:
    base = match["base"]
    value = int(base) if base.isdigit() else _BASE_WORDS.get(base, 0)
    if not 2 <= value <= 36:
        return Quantity(text)
    try:
        int(match["digits"].split(".")[0], value)
    except ValueError:
        return Quantity(text)
    return Quantity(match["digits"], base=value)


def _without_words(text: str, bare_letters: bool) -> Quantity:
    if text[:1] not in _VALUE_STARTS or (text[-1:].isdigit() and "^" not in text[-5:]):
        return Quantity(text)  # no word can follow a value here
    match = _TRAILING_WORDS.match(text)
    if match is None:
        return Quantity(text)
    words = match["words"].replace("/", " ").split()
    value = match["value"].strip()
    if not _is_value(value) or any(word.lower() in _NOT_UNITS for word in words):
        return Quantity(text)
    scale = Fraction(1)
    while words and words[0].lower() in _MULTIPLIERS:
        scale *= _MULTIPLIERS[words.pop(0).lower()]
    if not words:
        return Quantity(value, scale=scale)
    if words[0].lower() in ("percent", "percentage"):
        return Quantity(value, percent=True, scale=scale)
    after_gap = text[match.start(2) - 1].isspace()
    if not all(_is_unit_word(word, bare_letters and after_gap) for word in words):
        return Quantity(text)
    return Quantity(value, _canonical(words, match["power"]), scale=scale)


def _is_value(value: str) -> bool:
    """A unit follows a number: ``value`` must hold a digit and no word of its own."""
    return any(char.isdigit() for char in value) and not _WORD.search(value)


def _is_unit_word(word: str, single_letters: bool) -> bool:
    if len(word) == 1:
        return single_letters and word in _SINGLE_LETTER
    return len(word) >= 3 or word.lower() in _UNITS or word in _SYMBOLS


def _canonical(words: list[str], power: str | None) -> str:
    names = []
    for word in words:
        lower = word if len(word) == 1 else word.lower()
        singular = lower[:-1] if lower.endswith("s") and len(lower) > 2 else lower
        names.append(_UNITS.get(lower) or _UNITS.get(singular) or singular)
    exponent = "".join(char for char in power or "" if char in "-23")
    if names[0] in ("square", "sq") and len(names) > 1:
        names, exponent = names[1:], "2"
    if names[0] in ("cubic", "cu") and len(names) > 1:
        names, exponent = names[1:], "3"
    return " ".join(names) + (f"^{exponent}" if exponent else "")


KNOWN_UNITS = frozenset(_ALIASES)


def units_conflict(a: str | None, b: str | None) -> bool:
    """Whether two units are both well known and different: 5 cm is not 5 m, but 5 apples may be 5 fruits."""
    if a is None or b is None or a == b:
        return False
    return a.split("^")[0] in KNOWN_UNITS and b.split("^")[0] in KNOWN_UNITS and "unit" not in (a, b)
