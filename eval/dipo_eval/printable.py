"""Show untrusted text on a terminal: on one line, with nothing hidden in it."""

from __future__ import annotations

import unicodedata

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def visible(text: str, limit: int = 120) -> str:
    """``text`` with control, format and unassigned characters escaped, and its middle omitted above ``limit``.

    An escape sequence cannot move the cursor, nor a direction mark reverse the line. The beginning and the end are kept,
    since answers are at the end; omitted characters are counted. Pass the result to rich as ``rich.text.Text``.
    """
    if len(text) > limit:
        head, tail = limit // 3, limit - limit // 3
        left_out = len(text) - head - tail
        return f"{spelled(text[:head])} [... {left_out:,} characters ...] {spelled(text[-tail:])}"
    return spelled(text)


def spelled(text: str) -> str:
    """All of ``text``, with what a terminal does not draw written as an escape."""
    return "".join(_NAMED.get(char) or (char if shows(char) else f"\\u{ord(char):04x}") for char in text)


def shows(char: str) -> bool:
    """Whether a terminal draws ``char`` and nothing else."""
    return unicodedata.category(char) not in _HIDDEN
