"""Read a plain number exactly: integers, decimals, fractions, mixed numbers, powers of ten."""

from __future__ import annotations

import re
from fractions import Fraction

from dipo_eval import linear

MAX_DIGITS = 2000
MAX_POWER_OF_TEN = 400

_DECIMAL = linear.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)\Z", re.ASCII)
_THOUSANDS = linear.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?\Z", re.ASCII)
_SPACED_THOUSANDS = linear.compile(r"[+-]?\d{1,3}(?: \d{3})+\Z", re.ASCII)
_NUMBER = r"(?:\d+\.?\d*|\.\d+)"
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


def parse_number(text: str) -> Fraction | None:
    """The exact value of cleaned ``text``, or None where it is not one plain number.

    A comma is a thousands separator only between groups of three digits: ``1,024`` is a number, ``1,2`` is
    not.
    """
    if len(text) > MAX_DIGITS or not text:
        return None
    if text.isdecimal() and text.isascii():
        return Fraction(int(text))
    if text[0] in "+-":
        text = text[0] + text[1:].lstrip()
    if _DECIMAL.match(text):
        return Fraction(text.rstrip(".") if text.endswith(".") else text)
    if _THOUSANDS.match(text):
        return Fraction(text.replace(",", "").rstrip("."))
    if _SPACED_THOUSANDS.match(text):
        return Fraction(text.replace(" ", ""))
    if "frac" in text or "/" in text:
        return _parse_fraction(text)
    return _parse_scientific(text)


def _parse_fraction(text: str) -> Fraction | None:
    match = _FRACTION.match(text)
    if match:
        top = match["top"] if match["top"] is not None else match["top1"]
        bottom = match["bottom"] if match["bottom"] is not None else match["bottom1"]
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
    if not match:
        return None
    exponent = int(match["exponent"])
    if abs(exponent) > MAX_POWER_OF_TEN:
        return None
    return Fraction(match["mantissa"].rstrip(".")) * Fraction(10) ** exponent


def decimal_places(text: str) -> int | None:
    """Digits after the point of a decimal literal such as ``0.3333``, or None where ``text`` is not one."""
    if "." not in text or not _DECIMAL.match(text):
        return None
    return len(text) - text.index(".") - 1
