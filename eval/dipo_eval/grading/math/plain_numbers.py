"""Plain numbers: decimals, thousands, fractions, mixed numbers, scientific notation, and their rounding."""

from __future__ import annotations

import re
from fractions import Fraction

from dipo_eval import linear

MAX_DIGITS = 2000
MAX_POWER_OF_TEN = 400
ROUNDED_DIGITS = 6
"""A decimal with at least this many digits after the point may stand for the exact value that it is rounded from;
the number to which math-verify 0.9.0 rounds (its ``float_rounding``)."""

DECIMAL = linear.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)\Z", re.ASCII)
_THOUSANDS = linear.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?\Z", re.ASCII)
_SPACED_THOUSANDS = linear.compile(r"[+-]?\d{1,3}(?: \d{3})+\Z", re.ASCII)
_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)"
_FRACTION = linear.compile(
    rf"(?P<sign>[+-]?)\s*(?:(?P<whole>\d+)\s*)?\\frac\s*"
    rf"(?:\{{\s*(?P<top>[+-]?\s*{_NUMBER})\s*\}}|(?P<top1>\d))\s*"
    rf"(?:\{{\s*(?P<bottom>[+-]?\s*{_NUMBER})\s*\}}|(?P<bottom1>\d))\Z",
    re.ASCII,
)
_SLASH = linear.compile(
    rf"(?P<sign>[+-]?)\s*(?:(?P<whole>\d+)\s+)?(?P<top>{_NUMBER})\s*/\s*(?P<bottom>[+-]?{_NUMBER})\Z",
    re.ASCII,
)
_SCIENTIFIC = linear.compile(
    rf"(?P<mantissa>[+-]?{_NUMBER})\s*(?:(?:\\times|\\cdot|\*|x)\s*10\s*\^\s*(?:\{{\s*)?|[eE])"
    r"(?P<exponent>[+-]?\d{1,4})\s*\}?\Z",
    re.ASCII,
)

_OUT_OF = linear.compile(r"(\d+)\s+(?:out of|in)\s+(\d+)\Z")


def parse_number(text: str) -> Fraction | None:
    """The exact value of cleaned ``text``, or None where it is not one plain number.

    A comma separates thousands only between groups of three digits: ``1,024`` is a number, ``1,2`` is not.
    """
    if len(text) > MAX_DIGITS or not text:
        return None
    if text.isdecimal() and text.isascii():
        return Fraction(int(text))
    if text[0] in "+-":
        text = text[0] + text[1:].lstrip()
    if DECIMAL.match(text):
        return Fraction(text.rstrip(".") if text.endswith(".") else text)
    if _THOUSANDS.match(text):
        return Fraction(text.replace(",", "").rstrip("."))
    if _SPACED_THOUSANDS.match(text):
        return Fraction(text.replace(" ", ""))
    if "frac" in text or "/" in text:
        return _parse_fraction(text)
    share = _OUT_OF.match(text)
    if share and int(share[2]):
        return Fraction(int(share[1]), int(share[2]))
    return _parse_scientific(text)


def _parse_fraction(text: str) -> Fraction | None:
    match = _FRACTION.match(text)
    if match:
        top, bottom = match["top"] or match["top1"], match["bottom"] or match["bottom1"]
    else:
        match = _SLASH.match(text)
        if not match:
            return None
        top, bottom = match["top"], match["bottom"]
    denominator = Fraction(bottom.replace(" ", "").rstrip("."))
    if denominator == 0:
        return None
    value = Fraction(top.replace(" ", "").rstrip(".")) / denominator
    if match["whole"]:
        if not 0 <= value < 1:  # 1\frac{9}{4} and 3 \frac{-1}{2} are products or slips, not mixed numbers
            return None
        value += int(match["whole"])
    return -value if match["sign"] == "-" else value


def _parse_scientific(text: str) -> Fraction | None:
    match = _SCIENTIFIC.match(text)
    if not match or abs(int(match["exponent"])) > MAX_POWER_OF_TEN:
        return None
    return Fraction(match["mantissa"].rstrip(".")) * Fraction(10) ** int(match["exponent"])


def rounded_places(text: str) -> int | None:
    """Digits after the point of a decimal that may be rounded: at least ``ROUNDED_DIGITS``, else None."""
    places = len(text) - text.index(".") - 1 if "." in text and DECIMAL.match(text) else 0
    return places if places >= ROUNDED_DIGITS else None
