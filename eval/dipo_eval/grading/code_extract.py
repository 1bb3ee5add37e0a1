"""Find the program in a chat response. Text work alone: nothing here parses or runs it."""

from __future__ import annotations

import re
import textwrap

MAX_RESPONSE_CHARS = 400_000
MAX_CODE_CHARS = 100_000
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^\n`]*$", re.MULTILINE)
_PYTHON = frozenset({"", "python", "python3", "py", "py3"})


def extract_code(response: str, entry_point: str, prompt: str = "") -> str | None:
    """The program of a response that should define ``entry_point``, or None where there is none.

    The last fenced Python block that defines it, else the whole response where that does. With neither, a
    ``prompt`` that opens the function itself (HumanEval's) is completed with the last block or the response.
    A fence that never closes (a truncated response) reaches to the end. Only the last 400,000 characters are
    looked at.
    """
    text = response[-MAX_RESPONSE_CHARS:].replace("\r\n", "\n").replace("\0", "")
    blocks = fenced_blocks(text)
    for code in (*reversed(blocks), text if not blocks else ""):
        if defines(code, entry_point):
            return code if len(code) <= MAX_CODE_CHARS else None
    body = blocks[-1] if blocks else text
    if not body.strip() or not defines(prompt, entry_point) or len(body) > MAX_CODE_CHARS:
        return None
    return prompt + (textwrap.indent(body, "    ") if blocks and not body[0].isspace() else body)


def fenced_blocks(text: str) -> list[str]:
    """The contents of fenced blocks that say Python or nothing, in order, without the indentation they share."""
    blocks: list[str] = []
    opened: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if opened is None:
            opened = fence
        elif fence[1].startswith(opened[1]) and not fence[2]:
            _keep(blocks, opened, text[opened.end() : fence.start()])
            opened = None
    if opened is not None:
        _keep(blocks, opened, text[opened.end() :])
    return blocks


def _keep(blocks: list[str], opened: re.Match[str], body: str) -> None:
    if opened[2].lower() in _PYTHON and body.strip():
        blocks.append(textwrap.dedent(body.removeprefix("\n")))


def defines(code: str, entry_point: str) -> bool:
    """Whether a line at the left margin defines or assigns ``entry_point``."""
    name = re.escape(entry_point)
    return (
        re.search(
            rf"^(?:(?:async[ ]+)?def|class)[ ]+{name}\b|^{name}[ ]*(?::[^=\n]*)?=(?!=)", code, re.MULTILINE
        )
        is not None
    )
