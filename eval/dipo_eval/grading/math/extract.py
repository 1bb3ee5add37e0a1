"""Find the final answer in a response: the last box, or else a stated answer."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

from dipo_eval import linear

SEARCH_CHARS = 200_000
"""Characters at the end of a response that are searched: a response of 32k tokens has about 130,000."""
_BOX_CHARS = 20_000
_BOX_TRIES = 8
_BARE_CHARS = 200
_BOX, _FBOX = r"\boxed", r"\fbox"

_BRACES = linear.bounded(r"\\.|[{}]", re.DOTALL)
_UNBRACED = linear.compile(r"[^\s{}$\\.,;]+")
_BETWEEN_BOXES = linear.compile(
    r"[\s$,;.()]*(?:and|or|\\text\{\s*(?:and|or)\s*\})?[\s$,;()]*(?:[a-zA-Z]\s*=\s*)?\Z"
)
_STATED = linear.bounded(
    r"""
    \#\#\#\#\s{0,12}(?P<hash>\S)
    | \banswers?\b (?:\s{1,4}(?:to|for|of)\b[^.:=\n]{0,80}?)?
      [\s*_]{0,12}(?:\s(?:is|are|should\ be|must\ be|would\ be|will\ be|equals|becomes)\b|[:=])
      (?:\s{0,4}(?:therefore|thus|hence|then|simply|just|indeed|approximately|about|equal\ to)\b)?
      [\s*_]{0,12}(?:[:=]|\\approx|\\\()?[\s*_]{0,12}(?P<word>\S)
    """,
    re.IGNORECASE | re.VERBOSE,
)
_SENTENCE_END = linear.bounded(r"[.!?](?=\s|$|\*)|\n")
_REASON = linear.compile(  # where it starts counts, not where it ends
    r",?\s+(?:because|since|as|so|which|where|when|with|by|after|given|if|once|using)(?:\W|\Z)"
    r"|,\s+(?:and\s+)?(?:the|we|that|it)(?:\W|\Z)|\s+\("
)
_GOES_ON = linear.compile(r"\s*(?:,|and|or)\s*(?:(?:and|or)\s*)?\$?\s*[\d\\(-]")
_DOLLAR = linear.bounded(r"(?<!\\)\$")
_PROSE = linear.compile(r"[A-Za-z]{2,}\s+[A-Za-z]{2,}\s+[A-Za-z]{2,}")


@dataclass(frozen=True, slots=True)
class Extraction:
    """The answer, and how it was found: ``boxed``, ``stated``, ``bare`` (the whole response) or ``none``."""

    text: str | None
    how: str


def extract_answer(response: str) -> Extraction:
    """The last balanced ``\\boxed{}`` of ``response``; with none, the last stated answer; with none, a bare answer.

    Boxes joined by a comma, "and" or "or" are one list, so that a hedge over two boxes is not one answer. Only the
    last ``SEARCH_CHARS`` characters are searched.
    """
    tail = response[-SEARCH_CHARS:]
    for how, find in (("boxed", _last_box), ("stated", _last_stated)):
        found = find(tail)
        if found is not None:
            return Extraction(found, how)
    if len(response) <= 4 * _BARE_CHARS and _is_bare(response.strip()):
        return Extraction(response.strip(), "bare")
    return Extraction(None, "none")


def _is_bare(text: str) -> bool:
    """Whether a response is nothing but an answer: one short line, no sentence."""
    if len(text) > _BARE_CHARS or "\n" in text or "boxed" in text or "answer" in text.lower():
        return False
    return any(char.isalnum() for char in text) and not _PROSE.search(text)


def _last_box(text: str) -> str | None:
    end = len(text)
    for _ in range(_BOX_TRIES):
        start = _last_start(text, end)
        if start < 0:
            return None
        box = _box_at(text, start)
        if box is not None:
            return _with_joined_boxes(text, start, box[1])
        end = start
    return None


def _last_start(text: str, end: int) -> int:
    return max(text.rfind(_BOX, 0, end), text.rfind(_FBOX, 0, end))


def _box_at(text: str, start: int) -> tuple[int, str] | None:
    """Where the content of the box at ``start`` begins, and that content; None where its braces never close."""
    first = _content_start(text, start)
    if text[first - 1 : first] != "{":
        unbraced = _UNBRACED.match(text[first : first + _BOX_CHARS]) if text.startswith(_BOX, start) else None
        return (first, unbraced[0]) if unbraced else None
    end = text.find("}", first, first + _BOX_CHARS)
    if end >= 0 and text.find("{", first, end) < 0 and text[end - 1] != "\\":
        return first, text[first:end]
    depth = 1
    for match in _BRACES.finditer(text, first, first + _BOX_CHARS):
        if match[0] == "{":
            depth += 1
        elif match[0] == "}":
            depth -= 1
            if depth == 0:
                return first, text[first : match.start()]
    return None


def _content_start(text: str, start: int) -> int:
    """Where the content of the box at ``start`` begins: after its brace, or after white space where it has none."""
    at = start + (len(_BOX) if text.startswith(_BOX, start) else len(_FBOX))
    if text.startswith("{", at):
        return at + 1
    window = text[at : at + _BOX_CHARS]
    at += len(window) - len(window.lstrip())
    return at + text.startswith("{", at)


def _with_joined_boxes(text: str, start: int, content: str) -> str:
    """``content`` after the boxes that are joined to it: ``1, 2`` for ``\\boxed{1}`` or ``\\boxed{2}``."""
    parts = [content]
    while len(parts) < _BOX_TRIES:
        before = _last_start(text, start)
        if before < 0 or start - before > _BOX_CHARS:
            break
        earlier = _box_at(text, before)
        if earlier is None or text[earlier[0] - 1] != "{":
            break
        gap = text[earlier[0] + len(earlier[1]) + 1 : start]
        if len(gap) > 40 or not _BETWEEN_BOXES.match(gap) or not gap.strip(" $\n\t."):
            break
        parts.append(earlier[1])
        start = before
    return ", ".join(reversed(parts))


def _last_stated(text: str) -> str | None:
    newest = deque(_STATED.finditer(text), maxlen=1)
    if not newest:
        return None
    last = newest[0]
    first = last.start("hash") if last["hash"] else last.start("word")
    line = text[first : first + _BOX_CHARS]
    if line.startswith("$") and not line.startswith("$$"):
        closing = _DOLLAR.search(line, 1)
        if closing and not _GOES_ON.match(line[closing.end() :]):
            return line[1 : closing.start()]
    line = line.lstrip("$ \n") if line.startswith("$$") else line
    cut = _SENTENCE_END.search(line)
    line = line[: cut.start()] if cut else line
    reason = _REASON.search(line)
    line = line[: reason.start()] if reason else line
    return line.strip().strip("*_").strip() or None
