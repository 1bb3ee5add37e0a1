"""Find the program in a chat response. Text work alone: nothing here parses or runs it."""

from __future__ import annotations

import os.path
import re
import textwrap
from functools import lru_cache

from dipo_eval import linear

MAX_RESPONSE_CHARS = 400_000
MAX_CODE_CHARS = 100_000
_MAX_LANGUAGE = 100
_LANGUAGE = linear.compile(r"[\w+#.-]+")
_PYTHON = frozenset({"", "python", "python3", "py", "py3"})


def extract_code(response: str, entry_point: str, prompt: str = "") -> str | None:
    """The program of a response that should define ``entry_point``, or None where there is none.

    The last fenced Python block that defines it, else the entire response where that does. With neither, a
    ``prompt`` that opens the function itself (HumanEval's) is completed with the last block or the response.
    A fence that never closes reaches to the end. Only the last 400,000 characters are read.
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
    """The contents of fenced blocks labelled Python or nothing, in order, without the indentation they share."""
    blocks: list[str] = []
    marks, language = "", ""  # of the block that is open
    body: list[str] = []
    for line in [*text.split("\n"), None]:  # None: the end of the text closes a block too
        fence = None if line is None else _fence(line)
        if not marks:
            marks, language = fence or ("", "")
            body = []
        elif line is None or (fence and fence[0].startswith(marks) and not fence[1]):
            if language.lower() in _PYTHON and any(map(str.strip, body)):
                blocks.append(_dedented(body if line is None else [*body, ""]))
            marks = ""
        else:
            body.append(line)
    return blocks


def _fence(line: str) -> tuple[str, str] | None:
    """The marks (three back-quotes or tildes, or more) of a fence, and the language that it names."""
    marked = line.lstrip(" \t")
    if not marked.startswith(("```", "~~~")):
        return None
    rest = marked.lstrip(marked[0])
    language = _LANGUAGE.match(rest.lstrip(" \t")[:_MAX_LANGUAGE])
    return None if "`" in rest else (marked[: len(marked) - len(rest)], language[0] if language else "")


def _dedented(body: list[str]) -> str:
    """textwrap.dedent of lines: that makes a regular expression of the indentation, however long it is."""
    lines = [line if line.strip(" \t") else "" for line in body]
    indents = [line[: len(line) - len(line.lstrip(" \t"))] for line in lines if line]
    margin = os.path.commonprefix(indents)  # noqa: RUF071  (of characters: these are no paths)
    return "\n".join(line[len(margin) :] for line in lines)


def defines(code: str, entry_point: str) -> bool:
    """Whether a line at the left margin defines or assigns ``entry_point``."""
    return _definition(entry_point).search(code) is not None


@lru_cache(maxsize=64)
def _definition(entry_point: str) -> linear.LinearPattern:
    name = re.escape(entry_point)
    return linear.compile(
        rf"^(?:(?:async[ ]+)?def|class)[ ]+{name}(?:\W|\Z)|^{name}[ ]*(?::[^=\n]*)?=(?:[^=]|\Z)", re.MULTILINE
    )
