"""Read one value: its exact number, and the unit, percent sign, degree sign or number base that is taken off it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from dipo_eval import linear
from dipo_eval.grading.math.changing_words import SCALES, changes_value, scale_of
from dipo_eval.grading.math.composite_units import composite_unit, without_abbreviation
from dipo_eval.grading.math.number_words import NUMBER_WORDS, fraction_in_words
from dipo_eval.grading.math.plain_numbers import DECIMAL, parse_number

_ALIASES = {
    "cm": "centimeter centimetre", "mm": "millimeter millimetre", "km": "kilometer kilometre", "m": "meter metre",
    "in": "inch inche", "ft": "foot feet", "yd": "yard", "mi": "mile",
    "s": "second sec", "min": "minute", "h": "hour hr", "day": "", "week": "", "month": "", "year": "",
    "g": "gram", "kg": "kilogram", "mg": "milligram", "lb": "pound", "oz": "ounce",
    "l": "liter litre L", "ml": "milliliter millilitre mL",
    "dollar": "usd buck", "cent": "", "degree": "deg", "celsius": "", "fahrenheit": "", "radian": "rad", "unit": "",
}  # fmt: skip
_UNITS = {word: unit for unit, words in _ALIASES.items() for word in (unit, *words.split())}
_SINGLE_LETTER = frozenset("msghlL")
_SYMBOLS = frozenset({"Hz", "eV", "Pa", "kJ", "kW", "kV", "kN"})  # with these capitals they are no product
_NOT_UNITS = frozenset((
    "or", "and", "not", "to", "minus", "plus", "times", "over", "less", "more", "than", "least", "most",
    "half", "squared", "cubed", "between", "pi", "sqrt", "but", "if", "i", "e", "either", "neither", "nor", "maybe",
    "possibly", "perhaps", "when", "where", "for", "mod", "remainder", "with", "without", "then", "otherwise", "except",
    "incorrect", "wrong", "false", "invalid", "rejected", "extraneous", "impossible", "guess",
    "fewer", "before", "after", "until", "initially", "originally", "already",
))  # fmt: skip
_TRAILING_WORDS = linear.compile(  # a word begins after white space or where a value cannot go on
    r"(?P<value>.*?(?:[\d)}\]!]|[a-zA-Z]\s))\s*(?P<words>[A-Za-z]+(?:[\s/]+[A-Za-z]+){0,5})"
    r"(?P<power>\s*\^\s*\{?\s*-?[23]\s*\}?)?\Z"
)
_WORD = linear.bounded(r"(?<![\\A-Za-z])[A-Za-z]{2}")
_VALUE_STARTS = frozenset("0123456789.+-\\(")
_BASE = linear.compile(
    r"\(?(?P<digits>[0-9A-Fa-f]+(?:\.[0-9]+)?)\)?"
    r"(?:\s*_\s*\{?\s*\(?|\s*\(\s*(?:in\s+)?base[\s-]+|\s+(?:in\s+)?base[\s-]+)(?P<base>\d{1,2}|[a-z]+)\s*\)?\s*\}?\Z"
)
_BASE_WORDS = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "sixteen": 16,
}  # fmt: skip
_LEADING = linear.compile(
    r"(?:(?:approximately|about|roughly|exactly|simply|just|only|a total of|is|are|be)\s+"
    r"|\\approx\s*|\\sim\s*|=\s*|~\s*)+",
    re.IGNORECASE,
)


_CHINESE_UNIT = linear.compile(r"(.*[\d)}])\s*([\u4e00-\u9fff])[\u4e00-\u9fff\u00b2\u00b3/]{0,7}\Z")
_HUNDREDTHS = "\u767e\u5206\u4e4b"
_CHINESE_SCALES = {"\u767e": 100, "\u5343": 1000, "\u4e07": 10**4, "\u4ebf": 10**8}
_DEGREES = linear.compile(r"(?:.*°|(?:[\d.°+*/(){}\s-]|\\frac)+)\Z", re.DOTALL)
_TEMPERATURE = linear.compile(r"(.*\d)\s?°\s?([CF])\Z")
_ANGLE_FUNCTION = linear.bounded(r"sin|cos|tan|cot|sec|csc")
# What goes on after a value and its unit: "18 dollars a day", "18 at the market".
_TAIL = linear.compile(
    r"(.*?)\s\(?(?:(?:per|each|every|at|from|during|of|on)\s+(?:(?:an?|the|each)\s+)?[a-z][a-z'\u2019 -]*"
    r"|(?:for|in)\s+(?:an?|the|each|every|all|his|her|its|their|total|everything)(?:\s[a-z][a-z'\u2019 -]*)?"
    r"|an?\s+(?:(?:an?|the|each)\s+)?[a-z]{2}[a-z'\u2019 -]*"  # "5 a b" is a product
    r"|to\s+[a-z]{3}[a-z'\u2019 -]*|altogether|total|together|now)\)?\Z"
)
_PER = linear.bounded(
    r"(?<=\d)\s?/\s?(?=(?:second|minute|hour|day|night|week|month|year|person|student|child|item|pound|mile|gallon)\Z)"
)
_TAIL_CHANGES = _NOT_UNITS - {"and"} | SCALES.keys() | NUMBER_WORDS
_CHANGED = linear.bounded(r"\bin the (?:red|hole|negative)\b")
_POWERS = {"squared": "^2", "cubed": "^3"}
_IN_BRACKETS = linear.compile(r"(.*[\d)}])\s\(([a-z ]{3,40})\)\Z")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value: its ``text`` without unit, its exact ``number`` where it is one, and what was around it."""

    text: str
    number: Fraction | None
    unit: str | None = None
    percent: bool = False
    base: int | None = None

    @property
    def form(self) -> str:
        """``text`` for a parser of products: a mixed number as a fraction, ``9 million`` as its number."""
        if self.number is None or (
            DECIMAL.match(self.text) and Fraction(self.text.rstrip(".")) == self.number
        ):
            return self.text
        return f"({self.number.numerator})/({self.number.denominator})"


@lru_cache(maxsize=8192)
def read_quantity(text: str, *, bare_letters: bool) -> Quantity:
    """The value in cleaned ``text``.

    ``bare_letters``: also read a single letter after a space as a unit (``18 m^2``); only safe where the
    other answer is a plain number, since ``6 m`` may be a product.
    """
    number = parse_number(text)
    if number is not None:
        return Quantity(text, number)
    leading = _LEADING.match(text)
    if leading:
        text = text[leading.end() :]
    if text[-1:].isalpha() and not text[:1].isdigit():
        spelled = fraction_in_words(text)
        if spelled is not None:
            return Quantity(text, spelled)
    if text[-1:] >= "\u4e00":
        counted = _CHINESE_UNIT.match(text)
        if counted:
            return _quantity(str(counted[1]).rstrip(), _CHINESE_SCALES.get(counted[2], 1))
    if text.startswith(_HUNDREDTHS):
        return _quantity(text[len(_HUNDREDTHS) :], percent=True)
    if text.endswith("%"):
        return _quantity(text[:-1].rstrip(), percent=True)
    if "°" in text and _DEGREES.match(text) and not _ANGLE_FUNCTION.search(text):
        return _quantity(text.replace("°", "").strip(), unit="degree")
    heat = _TEMPERATURE.match(text) if "°" in text else None
    if heat:
        return _quantity(str(heat[1]), unit={"C": "celsius", "F": "fahrenheit"}[heat[2]])
    base = _BASE.match(text)
    return _in_base(text, base) if base else _without_words(text, bare_letters)


def _quantity(text: str, scale: Fraction | int = 1, **around: Any) -> Quantity:
    number = parse_number(text)
    if number is None and scale != 1:  # a closed form: its text is all that is compared
        text = f"({text})*({Fraction(scale).numerator})/({Fraction(scale).denominator})"
    return Quantity(text, None if number is None else number * scale, **around)


def _in_base(text: str, match: linear.Match) -> Quantity:
    base = int(match["base"]) if match["base"].isdigit() else _BASE_WORDS.get(match["base"], 0)
    try:
        int(match["digits"].split(".")[0], base or 1)
    except ValueError:  # also where the base is not 2 to 36
        return _quantity(text)
    return _quantity(match["digits"], base=base)


def _without_words(text: str, bare_letters: bool) -> Quantity:
    if text[:1] not in _VALUE_STARTS or (text[-1:].isdigit() and "^" not in text[-5:]):
        return _quantity(text)  # no word can follow a value here
    text = _without_tail(without_abbreviation(text))
    composite = composite_unit(text) if bare_letters else None
    if composite:
        return _quantity(composite[0], unit=composite[1])
    match = _TRAILING_WORDS.match(text)
    if match is None:
        return _quantity(text)
    first = match.start(2)
    start, words = first, match["words"].replace("/", " ").split()
    while words and len(words[0]) == 1 and not (bare_letters and text[start - 1].isspace()):
        start = text.index(words[0], start) + 1  # a letter that belongs to the value: 6 - 5i units
        words = words[1:]
    if words and start > first:
        start = text.index(words[0], start)
    value = text[:start].strip()
    # A unit follows a number: the value has a digit and no word of its own.
    is_value = any(char.isdigit() for char in value) and not _WORD.search(value)
    power = match["power"]
    if len(words) > 1 and words[-1] in _POWERS and _has_powers(words[-2], bare_letters):  # units squared
        power = power or _POWERS[words.pop()]
    if not words or not is_value or any(word.lower() in _NOT_UNITS for word in words):
        return _quantity(text)
    scale, words = scale_of(words, is_one=value == "1")
    if not words:
        return _quantity(value, scale)
    if changes_value(words):  # 3 per thousand, 5 short
        return _quantity(text)
    if words[0].lower() in ("percent", "percentage"):
        return _quantity(value, scale, percent=True)
    after_gap = text[start - 1].isspace()
    if not all(_is_unit_word(word, bare_letters and after_gap) for word in words):
        return _quantity(text)
    unit = _canonical(words, power)
    return _quantity(value, scale, unit=None if unit == "radian" and r"\pi" in value else unit)


def _without_tail(text: str) -> str:
    """``18 dollars a day`` as ``18 dollars``, ``18 (dollars)`` as ``18``; not where the words change the value."""
    text = _PER.sub(" per ", text) if "/" in text else text
    tail = _TAIL.match(text) if " " in text else None
    found = tail or (_IN_BRACKETS.match(text) if text.endswith(")") else None)
    if found is None or not any(map(str.isdigit, found[1])):
        return text
    words = text[found.end(1) :].strip("() ").split()[1 if tail else 0 :]
    words = [word.strip("()") for word in words]
    changed = changes_value(words) or _CHANGED.search(text, found.end(1)) or _TAIL_CHANGES.intersection(words)
    return text if changed else str(found[1])


def _is_unit_word(word: str, single_letters: bool) -> bool:
    if len(word) == 1:
        return single_letters and word in _SINGLE_LETTER
    return len(word) >= 3 or word.lower() in _UNITS or word in _SYMBOLS or word in ("of", "sq", "cu")


def _has_powers(word: str, single_letters: bool) -> bool:
    """Whether ``word`` is a unit that is squared or cubed: 5 metres squared, and not 5 eggs squared."""
    if len(word) == 1:
        return single_letters and word in _SINGLE_LETTER
    name = _UNITS.get(word) or _UNITS.get(word.removesuffix("s"))
    return name is not None and name not in ("dollar", "cent", "degree", "celsius", "fahrenheit")


def _canonical(words: list[str], power: str | None) -> str:
    """One spelling of a unit, such as ``cm^2`` for square centimetres."""
    names = []
    for word in words:
        lower = word if len(word) == 1 else word.lower()
        singular = lower[:-1] if lower.endswith("s") and len(lower) > 2 else lower
        names.append(_UNITS.get(lower) or _UNITS.get(singular) or singular)
    exponent = "".join(char for char in power or "" if char in "-23")
    for prefixes, dimension in ((("square", "sq"), "2"), (("cubic", "cu"), "3")):
        if names[0] in prefixes and len(names) > 1:
            names, exponent = names[1:], dimension
    return " ".join(names) + (f"^{exponent}" if exponent else "")


def in_radians(one: Quantity, other: Quantity) -> str:
    """The text of ``one``; an angle in degrees as radians where ``other`` has a pi and no degrees: 45 degrees is pi/4."""
    if one.unit == "degree" and other.unit is None and r"\pi" in other.text:
        return rf"({one.form})\pi/180"
    return one.form


def units_conflict(a: str | None, b: str | None) -> bool:
    """Whether two units are both well known and different: 5 cm is not 5 m, but 5 apples may be 5 fruits."""
    if a is None or b is None or a == b:
        return False
    known = all("*" in one or one.split("^")[0] in _ALIASES for one in (a, b))  # a composite unit has a star
    return known and "unit" not in (a, b)
