"""The fenced blocks of a chat response, read as Markdown has them, or more freely where that finds no program."""

from __future__ import annotations

import os.path
from dataclasses import dataclass

from dipo_eval import linear

_MAX_LANGUAGE = 100
_LANGUAGE = linear.compile(r"[\w+#.-]+")
PYTHON = frozenset({"", "python", "python3", "py", "py3"})
# Labels under which models put Python too; not those of another language.
PLAIN = PYTHON | {"text", "txt", "plaintext", "plain", "code", "tool_code", "ipython", "pseudocode"}
_MARKS = ("```", "~~~")
_QUOTES = ('"""', "'''")
# Other marks around a program.
TAGS = (("[PYTHON]", "[/PYTHON]"), ("<code>", "</code>"), ("<python>", "</python>"), ("<solution>", "</solution>"),
        ("<answer>", "</answer>"))  # fmt: skip
_GLUED = linear.compile(r"([^\s`~])[ \t]*(```|~~~)([a-zA-Z0-9+]*)")
_ONE_LINE = linear.bounded(r"(?m)^(```|~~~)(python3?|py)[ \t]{1,4}(?=def |import |from |class |@)")


@dataclass(frozen=True, slots=True)
class _Fence:
    marks: str
    language: str


def fenced_blocks(text: str, labels: frozenset[str] = PYTHON) -> list[str]:
    """The contents of fenced blocks labelled Python or nothing, in order, without the indentation they share.

    A fence inside a string of three quotes is none, unless the string would then never end.
    """
    if not any(mark in text for mark in _MARKS):
        return []
    blocks: list[str] = []
    open_fence: _Fence | None = None
    body: list[str] = []
    quoted = False
    lines = text.split("\n")
    last_fence = max((index for index, line in enumerate(lines) if _fence(line)), default=-1)
    for index, line in enumerate([*lines, None]):  # None: the end of the text closes a block too
        fence = None if line is None else _fence(line)
        if open_fence is None:
            open_fence, body, quoted = fence, [], False
        elif line is None or (_closes(fence, open_fence) and not (quoted and index < last_fence)):
            if open_fence.language.lower() in labels and any(map(str.strip, body)):
                blocks.append(
                    _dedented(_without_glued_mark(body, open_fence) if line is None else [*body, ""])
                )
            open_fence = None
        else:
            body.append(line)
            quoted ^= sum(line.count(quote) for quote in _QUOTES) % 2 == 1
    return blocks


def free_blocks(text: str) -> list[str]:
    """Blocks of any label that Python may have, tags, and fences that are glued to prose or opened again unclosed."""
    text = _ONE_LINE.sub(r"\1\2\n", _GLUED.sub(r"\1\n\2\3", text))
    blocks = [*_begun_by_prompt(text), *fenced_blocks(text, PLAIN)]
    body: list[str] | None = None
    for line in text.split("\n"):
        fence = _fence(line)
        if fence is None:
            if body is not None:
                body.append(line)
            continue
        if body and any(map(str.strip, body)):
            blocks.append(_dedented([*body, ""]))
        body = [] if fence.language or body is None else None
    if body and any(map(str.strip, body)):
        blocks.append(_dedented(body))
    for opening, closing in TAGS:
        after = text.rpartition(opening)[2] if opening in text else ""
        inner = after.partition(closing)[0].strip("\n")
        if inner.strip():
            blocks.append(_dedented([*inner.split("\n"), ""]))
    return blocks


def _begun_by_prompt(text: str) -> list[str]:
    """The text before the first fence, where that one closes a block that the prompt opened."""
    lines = text.split("\n")
    fences = [index for index, line in enumerate(lines) if _fence(line)]
    first = _fence(lines[fences[0]]) if len(fences) % 2 else None
    return ["\n".join([*lines[: fences[0]], ""])] if first and not first.language else []


def has_inner_fence(block: str) -> bool:
    """Whether a block holds the start of another one, outside strings: then its own end was missed."""
    quoted = False
    for line in block.split("\n"):
        fence = None if quoted else _fence(line)
        if fence is not None and fence.language.lower() in PYTHON - {""}:
            return True
        quoted ^= sum(line.count(quote) for quote in _QUOTES) % 2 == 1
    return False


def _closes(fence: _Fence | None, opened: _Fence) -> bool:
    return fence is not None and fence.marks.startswith(opened.marks) and not fence.language


def _fence(line: str) -> _Fence | None:
    """The marks (three back-quotes or tildes, or more) of a fence, and the language that it names."""
    marked = line.lstrip(" \t")
    if not marked.startswith(_MARKS):
        return None
    rest = marked.lstrip(marked[0])
    language = _LANGUAGE.match(rest.lstrip(" \t")[:_MAX_LANGUAGE])
    return None if "`" in rest else _Fence(marked[: len(marked) - len(rest)], language[0] if language else "")


def _without_glued_mark(body: list[str], opened: _Fence) -> list[str]:
    """An unclosed block up to a line that ends with the closing marks: ``return x```` and three back-quotes."""
    for index, line in enumerate(body):
        stripped = line.rstrip()
        if stripped in _MARKS and opened.marks.startswith(stripped):  # fewer marks than it was opened with
            return [*body[:index], ""]
        if stripped.endswith(opened.marks) and stripped != opened.marks and "#" not in stripped:
            return [*body[:index], stripped.rstrip(opened.marks[0]), ""]
    return body


def _dedented(body: list[str]) -> str:
    """textwrap.dedent of lines: that makes a regular expression of the indentation, however long it is."""
    lines = [line if line.strip(" \t") else "" for line in body]
    indents = [line[: len(line) - len(line.lstrip(" \t"))] for line in lines if line]
    margin = os.path.commonprefix(indents)  # noqa: RUF071  (of characters: these are no paths)
    return "\n".join(line[len(margin) :] for line in lines)
