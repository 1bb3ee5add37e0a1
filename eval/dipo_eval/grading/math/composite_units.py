"""Units of several symbols after a number: kg\\cdot m/s^2, J/(kg K), m s^{-1}."""

from __future__ import annotations

from dipo_eval import linear

_SYMBOL = (
    r"(?:(?:[kMGTcdmnpfh]|\\mu\s?)?(?:mol|cd|Pa|Hz|Wb|lm|lx|Bq|Gy|Sv|eV|cal|bar|Wh|\\Omega|[mgsAKNJWVCFTHLl])"
    r"|min|hr?|day|year|yr|lb|ft|in|mi|mph|yd|erg|dyne?|rad|sr|atm|gal|oz|rev|°\s?C|°\s?F|\\AA|\\mathring\{A\})"
)
_FACTOR = rf"{_SYMBOL}(?:\s?\^\s?(?:\{{\s?-?\s?\d\s?\}}|-?\d))?"
_PRODUCT = rf"{_FACTOR}(?:(?:\s?(?:\\cdot|\\times|\*|/)\s?|\s){_FACTOR}){{0,5}}"
_COMPOSITE = linear.compile(rf"(.*?[\d)}}])\s((?:{_PRODUCT}|1)(?:\s?/\s?\(\s?{_PRODUCT}\s?\))?)\Z")
_SEVERAL = linear.bounded(r"[/*°\\-]|[A-Za-z0-9}]\s[A-Za-z]")
_READ = ("\\", "/", "^", " ", "*")
# "\frac{\text{m}}{\text{s}}" and "\mathrm{\frac{m}{s}}"; with letters in italics it may be a product of variables.
_ROMAN = (
    r"\\(?:text|textrm|mathrm)\s?\{\s?[a-zA-Z]{1,4}(?:\s?\^\s?\{?-?\d\}?)?\s?\}(?:\s?\^\s?(?:\{-?\d\}|-?\d))?"
)
_ROMANS = rf"(?:{_ROMAN}(?:\s?(?:\\cdot|\\,)?\s?{_ROMAN}){{0,3}})"
_ROMAN_FRACTION = linear.bounded(rf"\\[dt]?frac\s?\{{\s?({_ROMANS}|1)\s?\}}\s?\{{\s?({_ROMANS})\s?\}}")
_LETTERS = (
    r"[a-zA-Z]{1,4}(?:\s?\^\s?\{?\d\}?)?(?:\s?(?:\\cdot|\\,)?\s?[a-zA-Z]{1,4}(?:\s?\^\s?\{?\d\}?)?){0,2}"
)
_FRACTION_IN_ROMAN = linear.bounded(
    rf"\\(?:text|textrm|mathrm)\s?\{{\s?\\[dt]?frac\s?\{{({_LETTERS})\}}\s?\{{({_LETTERS})\}}\s?\}}"
)
_ABBREVIATED = linear.bounded(r"(?<=[\s\d)}])(sq|cu)\.\s{0,2}(?=[a-z])")


def with_slashes(text: str) -> str:
    """LaTeX with the fractions of units in upright letters as quotients: m/(s)."""
    if "frac" not in text or not any(font in text for font in ("\\text", "\\mathrm")):
        return text
    return _FRACTION_IN_ROMAN.sub(r" \1/(\2)", _ROMAN_FRACTION.sub(r" \1/(\2)", text))


def without_abbreviation(text: str) -> str:
    """``sq. units`` as ``sq units``."""
    return _ABBREVIATED.sub(r"\1 ", text) if ". " in text or "sq." in text or "cu." in text else text


def composite_unit(text: str) -> tuple[str, str] | None:
    """The value in cleaned ``text`` and its unit, with a star; None where it ends with one symbol, or with words."""
    if not any(sign in text for sign in _READ):
        return None
    found = _COMPOSITE.match(text)
    if found is None:
        return None
    unit = str(found[2])
    if _SEVERAL.search(unit) is None:
        return None
    return str(found[1]), f"*{''.join(unit.split())}"
