"""The text of a program without the prose around it. Nothing is parsed."""

from __future__ import annotations

import re
import textwrap
from functools import lru_cache

from dipo_eval import linear
from dipo_eval.grading.code.names import TRIPLE

_KEYWORDS = frozenset((
    "def", "class", "import", "from", "if", "for", "while", "with", "try", "except", "finally", "else", "elif",
    "return", "assert", "print", "async", "await", "raise", "global", "nonlocal", "del", "pass", "yield", "lambda",
    "not", "break", "continue",
))  # fmt: skip
_PROSE = linear.bounded(
    r"[`\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]|~~~|\*\*[^*]{1,80}\*\*|={3}|-{3}|[-*]\s|\d{1,2}[.)]\s"
    r"|\\(?:begin|end)\{|(?:python3?|py)\s{0,3}$"
    r"|(?:[-*>]{1,3}\s{1,3}|\d{1,2}[.)]\s{1,3})?(?:[A-Z][A-Za-z']{0,20}(?:,? [A-Za-z'`]{1,20}|[.:!]\s{0,3}$"
    r"|:\s(?:[^=]{1,200}$|[A-Za-z'`]{1,20},? [A-Za-z'`]{1,20}[\s,.;]))"
    r"|(?P<first>[a-z][a-z']{0,20}) [a-z']{1,20} [a-z']{1,20})"
)
_INDENT = "    "


@lru_cache(maxsize=64)
def _definition(entry_point: str) -> linear.LinearPattern:
    name = re.escape(entry_point)
    return linear.compile(
        rf"^(?:(?:async[ ]+)?def|class)[ ]+{name}(?:\W|\Z)|^{name}[ ]*(?::[^=\n]*)?=(?:[^=]|\Z)", re.MULTILINE
    )


@lru_cache(maxsize=64)
def _import(entry_point: str) -> linear.LinearPattern:
    name = re.escape(entry_point)
    return linear.compile(
        rf"^(?:from[ ]+[\w.]+[ ]+)?import[ ]+(?:[\w., ]*[ ,])?{name}[ ]*(?:,.*)?$", re.MULTILINE
    )


def defines(code: str, entry_point: str) -> bool:
    """Whether a line at the left margin defines or assigns ``entry_point``."""
    return _definition(entry_point).search(code) is not None


def imports(code: str, entry_point: str) -> bool:
    """Whether a line at the left margin imports ``entry_point``."""
    return _import(entry_point).search(code) is not None


def without_prose(text: str, entry_point: str) -> str | None:
    """The program in ``text`` that defines ``entry_point``, between prose before and after it; None without one."""
    lines = text.split("\n")
    definition = _definition(entry_point)
    at = next((index for index, line in enumerate(lines) if definition.match(line)), None)
    if at is None:
        return None
    is_prose = _prose_lines(lines)
    first = next((index + 1 for index in range(at, -1, -1) if is_prose[index]), 0)
    last = next((index for index in range(at, len(lines)) if is_prose[index]), len(lines))
    return "\n".join(lines[first:last]).strip("\n") + "\n"


def indented_program(text: str, entry_point: str) -> str | None:
    """A program that is indented as a whole, as Markdown's other kind of code block."""
    lines = text.split("\n")
    definition = _definition(entry_point)
    at = next((index for index, line in enumerate(lines) if definition.match(line.lstrip(" "))), None)
    if at is None:
        return None
    margin = len(lines[at]) - len(lines[at].lstrip(" "))

    def belongs(line: str) -> bool:
        return not line.strip() or line.startswith(" " * margin)

    first, last = at, at
    while first > 0 and belongs(lines[first - 1]):
        first -= 1
    while last + 1 < len(lines) and belongs(lines[last + 1]):
        last += 1
    block = "\n".join(line[margin:] for line in lines[first : last + 1])
    return block.strip("\n") + "\n" if margin else None


def _prose_lines(lines: list[str]) -> list[bool]:
    """Which lines at the left margin are sentences, outside strings of three quotes."""
    found = []
    quoted = False
    for line in lines:
        prose = None if quoted or not line[:1].strip() else _PROSE.match(line[:200])
        found.append(prose is not None and prose["first"] not in _KEYWORDS)
        quoted ^= sum(line.count(quote) for quote in TRIPLE) % 2 == 1
    return found


def completed(prompt: str, body: str) -> str:
    """``prompt``, which opens a function, with ``body`` as what follows: indented as one body, however it came."""
    lines = body.split("\n")
    inner = [line for line in lines[1:] if line.strip()]
    first = next((line for line in lines if line.strip()), "")
    is_cut = not first[:1].isspace() and inner and all(line.startswith(_INDENT) for line in inner)
    if is_cut and not first.rstrip().endswith(":"):  # the response went on after the prompt's last blanks
        body = body.replace(first, _INDENT + first, 1)
    if not first[:1].isspace() and not is_cut:
        return prompt + textwrap.indent(body, _INDENT)
    indent = len(first) - len(first.lstrip(" "))
    if 0 < indent < len(_INDENT) and all(line.startswith(" " * indent) for line in lines if line.strip()):
        return prompt + "\n".join(
            " " * (len(_INDENT) - indent) + line if line.strip() else line for line in lines
        )
    return prompt + body
