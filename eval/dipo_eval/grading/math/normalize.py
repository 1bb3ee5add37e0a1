"""Bring one answer, in LaTeX or plain text, into one spelling."""

from __future__ import annotations

from collections.abc import Callable

from dipo_eval import linear

MAX_ANSWER_CHARS = 4000
"""An extracted answer longer than this is not graded: the longest gold has 300."""

MAX_ROUNDS = 6

_UNICODE = str.maketrans({
    "\N{MINUS SIGN}": "-", "\N{EN DASH}": "-", "\N{EM DASH}": "-", "\N{MULTIPLICATION SIGN}": r"\times ",
    "\N{MIDDLE DOT}": r"\cdot ", "\N{DOT OPERATOR}": r"\cdot ", "\N{DIVISION SIGN}": r"\div ",
    "\N{GREEK SMALL LETTER PI}": r"\pi ", "\N{SQUARE ROOT}": r"\sqrt ", "\N{INFINITY}": r"\infty ",
    "\N{UNION}": r"\cup ", "\N{ELEMENT OF}": r"\in ", "\N{DEGREE SIGN}": r"^\circ ",
    "\N{LESS-THAN OR EQUAL TO}": r"\le ", "\N{GREATER-THAN OR EQUAL TO}": r"\ge ", "\N{ALMOST EQUAL TO}": r"\approx ",
    "\N{PLUS-MINUS SIGN}": r"\pm ", "\N{MINUS-OR-PLUS SIGN}": r"\mp ", "\N{SUPERSCRIPT TWO}": "^2",
    "\N{SUPERSCRIPT THREE}": "^3", "\N{VULGAR FRACTION ONE HALF}": r"\frac{1}{2}",
    "\N{VULGAR FRACTION ONE QUARTER}": r"\frac{1}{4}", "\N{VULGAR FRACTION THREE QUARTERS}": r"\frac{3}{4}",
    "\N{NO-BREAK SPACE}": " ", "\N{NARROW NO-BREAK SPACE}": " ", "\N{THIN SPACE}": " ",
    "\N{GREEK SMALL LETTER THETA}": r"\theta ", "\N{GREEK SMALL LETTER ALPHA}": r"\alpha ",
    "\N{GREEK SMALL LETTER BETA}": r"\beta ", "\N{EMPTY SET}": r"\emptyset ", "\N{FULLWIDTH PERCENT SIGN}": "%",
    "\N{FULLWIDTH COMMA}": ",", "\N{FULLWIDTH LEFT PARENTHESIS}": "(", "\N{FULLWIDTH RIGHT PARENTHESIS}": ")",
    "\N{PRIME}": "'",
})  # fmt: skip

_REPLACED = (("{,}", ","), (r"\(", ""), (r"\)", ""), (r"\[", ""), (r"\]", ""), (r"\$", ""), (r"\%", "%"))
_NO_SPACE = linear.compile(r"(\\+)!\s*")
_PHANTOM = linear.compile(r"(\\+)phantom\{[^{}]*\}")
_SPACING = linear.bounded(r"(?<!\\)\\(?:[,;:! ]|quad(?![a-zA-Z])|qquad(?![a-zA-Z])|displaystyle|limits)|~")
_SIZING = linear.bounded(r"\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])\.?")
_TEXT = linear.compile(
    r"\\(?:text|textbf|textit|textrm|texttt|mbox|mathrm|mathbf|mathit|mathsf|operatorname|hbox|emph)\s*\{([^{}]*)\}"
)
_RENAMED = (
    (linear.bounded(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (linear.bounded(r"\\[dt]binom(?![a-zA-Z])"), r"\\binom"),
    (linear.bounded(r"\\(?:le|leq|leqslant)(?![a-zA-Z])"), r"\\le "),
    (linear.bounded(r"\\(?:ge|geq|geqslant)(?![a-zA-Z])"), r"\\ge "),
    (linear.bounded(r"\\(?:neq|ne)(?![a-zA-Z])"), r"\\ne "),
    (linear.bounded(r"\{(?:[bp]|small)?matrix\}"), "{pmatrix}"),
    (linear.bounded(r"\\(?:lbrace)(?![a-zA-Z])"), r"\\{"),
    (linear.bounded(r"\\(?:rbrace)(?![a-zA-Z])"), r"\\}"),
    (linear.bounded(r"\\(?:varnothing|emptyset)(?![a-zA-Z])"), r"\\emptyset "),
    (linear.bounded(r"\\degrees?(?![a-zA-Z])"), "°"),
)
_ACCENT = linear.compile(r"\\(dot|ddot|hat|vec|bar|tilde)\s+([a-zA-Z]+)")
_DEGREE = linear.compile(r"\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ([a-zA-Z]*))")
_FRAC_BARE = linear.compile(r"\\frac\s*(?:\{([^{}]*)\}|([0-9a-zA-Z]))\s*(?:\{([^{}]*)\}|([0-9a-zA-Z]))")
_SQRT_BARE = linear.compile(r"\\sqrt\s*([0-9a-zA-Z])")
_BRACE = linear.bounded(r"(?<!\\)[{}]")
_SCRIPT_BRACED = linear.bounded(r"([_^])\{([0-9a-zA-Z])\}")


def clean(text: str) -> str:
    """``text`` without layout, with one spelling for synonyms; single spaces stay: they separate units and words.

    Dollar signs, escaped or not, go: a delimiter and a currency sign cannot be told apart in model output.
    """
    if not text.isascii():
        text = text.translate(_UNICODE)
    if "\\" in text:
        text = _clean_latex(text.strip())
    text = text.replace("$", "").replace("**", "^") if "$" in text or "**" in text else text
    return _strip_ends(" ".join(text.split()))


def _clean_latex(text: str) -> str:
    for written, plain in _REPLACED:
        text = text.replace(written, plain)
    if r"\!" in text:
        text = _NO_SPACE.sub(_unless_escaped(""), text)
    text = _SIZING.sub("", text)
    for _ in range(3):  # \text is nested no deeper than this in an answer
        replaced = _TEXT.sub(r" \1 ", text)
        if replaced == text:
            break
        text = replaced
    for pattern, replacement in _RENAMED:
        text = pattern.sub(replacement, text)
    # \hat x as \hat{x}
    text = _ACCENT.sub(lambda one: rf"\{one[1]}{{{one[2]}}}" if len(one[2]) == 1 else str(one[0]), text)
    if r"\circ" in text:
        text = _DEGREE.sub(lambda match: match[0] if match[1] else "°", text)
    if r"\phantom" in text:
        text = _PHANTOM.sub(_unless_escaped(" "), text)
    return _SPACING.sub(" ", text)


def _unless_escaped(replacement: str) -> Callable[[linear.Match], str]:
    """``replacement`` for a command, but not for what follows a line break (two backslashes)."""
    return lambda match: replacement if len(match[1]) == 1 else str(match[0])


def _strip_ends(text: str) -> str:
    """Drop the full stop of a sentence, bold marks and braces around the whole."""
    for _ in range(MAX_ROUNDS):
        before = text
        text = text.rstrip(" .,;:*").lstrip(" *:") if text != "." else ""
        if text.endswith("\\"):
            text = text.rstrip("\\")
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
    return cleaned.replace(" ", "")


def _braced_fraction(match: linear.Match) -> str:
    top = match[1] if match[1] is not None else match[2]
    bottom = match[3] if match[3] is not None else match[4]
    return rf"\frac{{{top}}}{{{bottom}}}"
