"""Show text that nobody can vouch for on a terminal: as it is, on one line, with nothing hidden in it."""

from __future__ import annotations

import unicodedata

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def visible(text: str, limit: int = 120) -> str:
    """``text`` with control, format and unassigned characters spelled out, and its middle left out above ``limit``.

    An escape sequence cannot move the cursor and a direction mark cannot turn the line around. The beginning and
    the end are kept, since answers are at the end; what is left out is counted. Give the result to rich as
    ``rich.text.Text``, which reads no markup.
    """
    if len(text) > limit:
        head, tail = limit // 3, limit - limit // 3
        left_out = len(text) - head - tail
        return f"{_spelled(text[:head])} [... {left_out:,} characters ...] {_spelled(text[-tail:])}"
    return _spelled(text)


def _spelled(text: str) -> str:
    return "".join(_NAMED.get(char) or (char if shows(char) else f"\\u{ord(char):04x}") for char in text)


def shows(char: str) -> bool:
    """Whether a terminal draws ``char`` and does nothing else with it."""
    return unicodedata.category(char) not in _HIDDEN
