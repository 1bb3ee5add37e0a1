"""Take the layout off LaTeX: fonts and colours around a formula, and the environments that only arrange lines."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dipo_eval import linear

# Commands whose argument is the content. TEXT also separates it from what is around it.
TEXT = (
    "text", "textbf", "textit", "textrm", "texttt", "textsf", "textnormal", "textup", "textmd", "textsc", "mbox",
    "hbox", "emph", "mathrm", "mathbf", "mathit", "mathsf", "mathtt", "operatorname",
)  # fmt: skip
STYLE = (
    "boldsymbol", "bm", "pmb", "bold", "underline", "uline", "ensuremath", "mathnormal", "mathstrut", "displaylines",
    "large", "Large", "textsuperscript", "mathop", "mathord", "hl", "colorboxed", "operatorname*",
)  # fmt: skip
_COLOURED = ("textcolor", "colorbox", "color")  # their first argument is a colour
_SWITCHES = (
    "displaystyle", "textstyle", "scriptstyle", "limits", "nolimits", "bf", "rm", "it", "sf", "tt", "bfseries",
    "itshape", "boldmath", "normalsize", "small", "large", "Large", "LARGE", "huge", "Huge", "hfill", "centering",
    "noindent", "left", "right", "middle", "nonumber", "notag", "allowbreak", "strut",
)  # fmt: skip
# Environments that arrange lines: a line break in them separates answers.
LINES = frozenset((
    "aligned", "align", "align*", "alignedat", "gathered", "gather", "gather*", "split", "cases", "dcases", "rcases",
    "equation", "equation*", "eqnarray", "eqnarray*", "multline", "multline*", "math", "displaymath", "center",
))  # fmt: skip

_CONTENT = {name: " " for name in TEXT} | {name: "" for name in STYLE}
_SPACED = frozenset({"cases", "dcases", "rcases"})
_TOKEN = linear.bounded(
    r"\\(?P<edge>begin|end)[ ]{0,3}\{(?P<environment>[A-Za-z]{1,12}\*?)\}(?:\{[lcr|@ 0-9]{0,20}\})?"
    rf"|\\(?P<colour>{'|'.join(_COLOURED)})[ ]{{0,3}}\{{[^{{}}]{{0,40}}\}}(?P<coloured>[ ]{{0,3}}\{{)?"
    r"|\\(?P<name>[a-zA-Z]{1,20}\*?)[ ]{0,3}(?P<opens>\{)?"
    r"|\\.|[{}&]"
)
_SWITCH = linear.bounded(
    r"\\(?:left|right|[bB]igg?[lrm]?|middle)(?![a-zA-Z])\.?"
    rf"|\\(?:{'|'.join(sorted(_SWITCHES, key=len, reverse=True))})(?![a-zA-Z])|\\(?:tag|label)\{{[^{{}}]{{0,40}}\}}"
    r"|\\[hv]space\*?\{[^{}]{0,20}\}"
)
_NEEDED = ("begin", "{", "\\color", "&")


def without_layout(text: str) -> str:
    """``text`` with ``\\boldsymbol{G}``, ``\\text{G}``, ``\\textcolor{red}{G}``, ``\\begin{aligned}G\\end{aligned}``
    replaced by G; lines of an aligned or cases environment become a list. One pass; braces nest.
    """
    text = _SWITCH.sub(lambda match: " " if match[0][-1].isalpha() and match.end() < len(text) else "", text)
    if not any(mark in text for mark in _NEEDED):
        return text
    made: list[str] = []
    braces: list[str] = []  # what stands for each open brace's closing one
    inside: list[str] = []  # the open environments
    for piece in _pieces(text):
        if isinstance(piece, str):
            made.append(piece)
            continue
        token = piece[0]
        if piece["edge"]:
            made.append(_edge(piece["edge"], piece["environment"], token, inside))
        elif piece["colour"]:
            if piece["coloured"]:
                braces.append("")
        elif piece["opens"] and piece["name"] in _CONTENT:
            around = _CONTENT[piece["name"]] or (" " if made and made[-1][-1:].isalpha() else "")
            made.append(around)
            braces.append(_CONTENT[piece["name"]])
        elif piece["opens"] or token == "{":
            made.append(token)
            braces.append("}")
        elif token == "}":
            made.append(braces.pop() if braces else "}")
        elif token == r"\\" and inside and inside[-1] in LINES:
            made.append(", ")
        elif token == "&" and inside and inside[-1] in LINES:
            made.append(" " if inside[-1] in _SPACED else "")
        else:
            made.append(token)
    return "".join(made)


def _pieces(text: str) -> Iterator[str | re.Match[str]]:
    """The tokens of ``text``, and the text between them."""
    at = 0
    for match in _TOKEN.finditer(text):
        if match.start() > at:
            yield text[at : match.start()]
        yield match
        at = match.end()
    if at < len(text):
        yield text[at:]


def _edge(edge: str, environment: str, token: str, inside: list[str]) -> str:
    """What is left of ``\\begin{...}`` or ``\\end{...}``."""
    if edge == "begin":
        inside.append(environment)
        return " " if environment in LINES else token
    if inside:
        inside.pop()
    return " " if environment in LINES else token
