"""Find the program in a chat response. Text work alone: nothing here parses or runs it."""

from __future__ import annotations

import os.path
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from dipo_eval import linear

MAX_RESPONSE_CHARS = 400_000
MAX_CODE_CHARS = 100_000
_MAX_LANGUAGE = 100
_LANGUAGE = linear.compile(r"[\w+#.-]+")
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
    opened: _Fence | None = None
    for fence in _fences(text):
        if opened is None:
            opened = fence
        elif fence.marks.startswith(opened.marks) and not fence.language:
            _keep(blocks, opened, text[opened.end : fence.start])
            opened = None
    if opened is not None:
        _keep(blocks, opened, text[opened.end :])
    return blocks


@dataclass(frozen=True, slots=True)
class _Fence:
    """A line of at least three back-quotes or tildes, and the language that it names."""

    start: int
    end: int
    marks: str
    language: str


def _fences(text: str) -> Iterator[_Fence]:
    start = 0
    for line in text.split("\n"):
        end = start + len(line)
        marked = line.lstrip(" \t")
        if marked.startswith(("```", "~~~")):
            rest = marked.lstrip(marked[0])
            language = _LANGUAGE.match(rest.lstrip(" \t")[:_MAX_LANGUAGE])
            if "`" not in rest:
                marks = marked[: len(marked) - len(rest)]
                yield _Fence(start, end, marks, language[0] if language else "")
        start = end + 1


def _keep(blocks: list[str], opened: _Fence, body: str) -> None:
    if opened.language.lower() in _PYTHON and body.strip():
        blocks.append(_dedented(body.removeprefix("\n")))


def _dedented(body: str) -> str:
    """textwrap.dedent, which makes a regular expression of the indentation, however long that is."""
    lines = [line if line.strip(" \t") else "" for line in body.split("\n")]
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
