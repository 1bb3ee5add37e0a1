"""Bring one answer, in LaTeX or plain text, into one spelling: layout off (layout.py), one symbol each (notation.py)."""

from __future__ import annotations

import re
from collections.abc import Callable

from dipo_eval import linear
from dipo_eval.grading.math.composite_units import with_slashes
from dipo_eval.grading.math.layout import without_layout
from dipo_eval.grading.math.notation import RENAMED, REPLACED, SIGNS, UNICODE

MAX_ANSWER_CHARS = 4000
"""An extracted answer longer than this is not graded: the longest gold has 300."""

MAX_ROUNDS = 6

_NO_SPACE = linear.compile(r"(\\+)!\s*")
_PHANTOM = linear.compile(r"(\\+)[vh]?phantom\{[^{}]*\}")
_SPACING = linear.bounded(r"(?<!\\)\\(?:[,;:> ]|q?quad(?![a-zA-Z]))|~")
_ACCENT = linear.compile(r"\\(dot|ddot|hat|vec|bar|tilde)\s+([a-zA-Z]+)")
_DEGREE = linear.compile(r"(?:\\[ ,;:]|~)?\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ([a-zA-Z]*))")
_FRAC_BARE = linear.compile(r"\\frac\s*(?:\{([^{}]*)\}|([0-9a-zA-Z]))\s*(?:\{([^{}]*)\}|([0-9a-zA-Z]))")
_SQRT_BARE = linear.compile(r"\\sqrt\s*([0-9a-zA-Z])")
_BRACE = linear.bounded(r"(?<!\\)[{}]")
_SCRIPT_BRACED = linear.bounded(r"([_^])\{([0-9a-zA-Z])\}")
_CHOOSE = linear.bounded(r"\{\s{0,3}([a-zA-Z0-9]{1,8})\s{0,3}\\choose\s{0,3}([a-zA-Z0-9]{1,8})\s{0,3}\}")
_OVER = linear.bounded(r"\{([^{}]{1,60})\\over(?![a-zA-Z])([^{}]{1,60})\}")
_LINE_SKIP = linear.bounded(r"\\\\\s?\[\s?-?[0-9.]{1,6}\s?[a-z]{2}\s?\]|\\cr(?![a-zA-Z])")
_ARRAY = linear.compile(
    r"(?:\\left\s*)?(\(|\[|\\\{)?\s*\\begin\{(array|p?matrix)\}(?:\{[lcr| ]*\})?(.*?)\\end\{(?:array|p?matrix)\}"
    r"\s*(?:\\right\s*)?(\)|\]|\.)?",
    re.DOTALL,
)
_DETERMINANT = linear.compile(r"\\begin\{[vV]matrix\}(.*?)\\end\{[vV]matrix\}", re.DOTALL)
_ROOT = linear.bounded(r"\u221a\s?(\d{1,30}(?:\.\d{1,30})?)")
_BOLD = linear.bounded(r"(?<![\w*)}\]])\*\*(?=\S)([^*\n]{1,80})\*\*(?![\w*])")
_QUOTES = ("`", '"', "'", "**", "__", "''")
_BETWEEN_NUMBERS = linear.bounded(r"(?<=[0-9]) (?=[0-9])")
_REPEATING = linear.bounded(r"(?<![\d.])(\d{0,30})\.(\d{0,30})\\overline\{(\d{1,30})\}")
_SIGN_CHARS = "!<>,^dhst'_RD~"
_DOTTED = linear.bounded(
    r"(?<![\d.])(\d{0,20})\.(\d{0,12}?)(?:(\d)\3{2,20}|(\d{2,6})\4{1,10})\s?(?:\\ldots(?![a-z])|\.{2,5}(?!\d))"
)
_BRACKETED_PERIOD = linear.bounded(r"(?<![\d.])(\d{0,20})\.()\((\d{1,20})\)(?!\d)")


def clean(text: str) -> str:
    """``text`` without layout, with one spelling for synonyms; single spaces stay: they separate units and words.

    Dollar signs, escaped or not, go: a delimiter and a currency sign cannot be told apart in model output.
    """
    if not text.isascii():
        text = _ROOT.sub(r"\\sqrt{\1}", text).translate(UNICODE)
    if "\\" in text:
        text = _clean_latex(text.strip())
    text = text.replace("$", "") if "$" in text else text
    if "**" in text:
        text = without_bold(text)
    if ".." in text or "ldots" in text or ".(" in text:
        text = _DOTTED.sub(_dotted, _BRACKETED_PERIOD.sub(_fraction, text))
    text = _strip_ends(" ".join(text.split()))
    if any(char in text for char in _SIGN_CHARS):
        for pattern, replacement in SIGNS:
            text = pattern.sub(replacement, text)
    return text.replace("**", "^") if "**" in text else text


def without_bold(text: str) -> str:
    """``text`` without Markdown's marks of bold words; a power keeps its stars."""
    return _BOLD.sub(r"\1", text)


def _clean_latex(text: str) -> str:
    for pattern, replacement in SIGNS[3:4]:  # before the spaces that \, stands for
        text = pattern.sub(replacement, text)
    if r"\\[" in text or r"\cr" in text:
        text = _LINE_SKIP.sub(r"\\\\", text)
    if r"\begin" in text:
        text = _ARRAY.sub(_array, text)
    text = without_layout(with_slashes(text.replace("{,}", ",")))
    for written, plain in REPLACED:
        text = text.replace(written, plain)
    text = text.replace(r"\$", "")
    if r"\!" in text:
        text = _NO_SPACE.sub(_unless_escaped(""), text)
    for pattern, replacement in RENAMED:
        text = pattern.sub(replacement, text)
    # \hat x as \hat{x}
    text = _ACCENT.sub(lambda one: rf"\{one[1]}{{{one[2]}}}" if len(one[2]) == 1 else str(one[0]), text)
    if r"\circ" in text:
        text = _DEGREE.sub(lambda match: match[0] if match[1] else "°", text)
    if "phantom" in text:
        text = _PHANTOM.sub(_unless_escaped(" "), text)
    if r"\choose" in text:
        text = _CHOOSE.sub(r"\\binom{\1}{\2}", text)
    if r"\over " in text:
        text = _OVER.sub(r"\\frac{\1}{\2}", text if "{" in text else f"{{{text}}}")
    if r"\overline" in text:
        text = _REPEATING.sub(_fraction, text)
    if "matrix}" in text and ("{v" in text or "{V" in text):
        text = _DETERMINANT.sub(_determinant, text)
    return _SPACING.sub(" ", text)


def _unless_escaped(replacement: str) -> Callable[[linear.Match], str]:
    """``replacement`` for a command, but not for what follows a line break (two backslashes)."""
    return lambda match: replacement if len(match[1]) == 1 else str(match[0])


def _array(match: linear.Match) -> str:
    """An array as what it stands for: a matrix in brackets, or lines of equations."""
    opening, environment, body, closing = match.groups()
    if environment == "array" and "&" not in body and r"\\" not in body:
        return f"{opening or ''}{body}{closing or ''}"
    if environment == "array" and "=" in body and opening in (None, r"\{") and closing in (None, "."):
        return rf"\begin{{cases}}{body}\end{{cases}}"
    if (opening, closing) in (("(", ")"), ("[", "]")):
        return rf"\begin{{pmatrix}}{body}\end{{pmatrix}}"
    return str(match[0])


def _fraction(match: re.Match[str]) -> str:
    """A repeating decimal as a fraction."""
    return _repeating(match[1], match[2], match[3])


def _repeating(whole: str, fixed: str, repeated: str) -> str:
    ninths = 10 ** len(repeated) - 1
    top = int((whole or "0") + fixed) * ninths + int(repeated)
    return rf"\frac{{{top}}}{{{ninths * 10 ** len(fixed)}}}"


def _dotted(match: re.Match[str]) -> str:
    """``0.333\\ldots`` as a fraction."""
    return _repeating(match[1], match[2], match[3] or match[4])


def _determinant(match: linear.Match) -> str:
    """A determinant of two rows as an expression."""
    rows = [[f"({cell.strip()})" for cell in row.split("&")] for row in match[1].split(r"\\") if row.strip()]
    if [len(row) for row in rows] != [2, 2]:
        return str(match[0])
    (a, b), (c, d) = rows
    return f"({a}{d}-{b}{c})"


def _strip_ends(text: str) -> str:
    """Drop the full stop of a sentence, bold marks, quotes and braces around the whole."""
    for _ in range(MAX_ROUNDS):
        before = text
        text = text.rstrip(" .,;:*").lstrip(" *:").removesuffix("/-") if text != "." else ""
        while text.endswith("\\") and not text.endswith(r"\\\\"):
            text = text[:-1].rstrip()
        for quote in _QUOTES:
            if text.startswith(quote) and text.endswith(quote) and len(text) > 2 * len(quote):
                text = text[len(quote) : -len(quote)].strip()
        if text.startswith("{") and text.endswith("}") and _is_group(text):
            text = text[1:-1].strip()
        if text == before:
            break
    return text


def _is_group(text: str) -> bool:
    """Whether the brace at the start of ``text`` closes at its end."""
    depth = 0
    for brace in _BRACE.finditer(text):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.end() == len(text)
    return False


def key(cleaned: str) -> str:
    """A string that is the same for two cleaned answers that differ only in spelling."""
    if "\\" in cleaned:
        if r"\frac" in cleaned:
            cleaned = _FRAC_BARE.sub(_braced_fraction, cleaned)
        cleaned = _SQRT_BARE.sub(r"\\sqrt{\1}", cleaned)
    cleaned = _SCRIPT_BRACED.sub(r"\1\2", cleaned)
    if " " in cleaned:
        cleaned = _BETWEEN_NUMBERS.sub(";", cleaned).replace(" ", "")
    return cleaned


def _braced_fraction(match: linear.Match) -> str:
    top = match[1] if match[1] is not None else match[2]
    bottom = match[3] if match[3] is not None else match[4]
    return rf"\frac{{{top}}}{{{bottom}}}"
