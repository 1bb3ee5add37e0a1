"""The last box of a response, with the boxes that are joined to it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dipo_eval import linear

BOX_CHARS = 20_000
"""The most characters of one box."""
_TRIES = 8
_GAP_CHARS = 90
_NAMES = (r"\boxed", r"\fbox", r"\framebox")

_BRACES = linear.bounded(r"\\.|[{}]", re.DOTALL)
_UNBRACED = linear.compile(r"[^\s{}$\\.,;]+")
# Words between two boxes that make one answer of them: of several parts, or a hedge.
_JOINING = (
    r"and|or|either|else|possibly|perhaps|maybe|alternatively|also|respectively|as[ ]well[ ]as|plus|likewise"
    r"|together[ ]with|along[ ]with"
)
_UNITS = "cm|mm|km|m|ft|feet|inches|units?|degrees|dollars|cents|hours|minutes|seconds|days|years|kg|%"
_JOINED = linear.compile(
    rf"(?:[\s$,;/()&|*]|\\[\\()\[\],;:!]|\\q?quad|\\(?:lor|vee|land|wedge)"
    rf"|\\(?:text|mbox|textrm|mathrm)\s*\{{[\s,]*(?:(?:{_JOINING})[\s,]*)*\}}"
    rf"|(?:{_JOINING})(?:[\s$,\\:]|\Z)"
    rf"|{_UNITS}"
    r"|[a-zA-Z](?:_\{?[a-zA-Z0-9]{1,3}\}?)?\s*=)*\Z",
    re.IGNORECASE,
)
# At the start of a line: "(a)", "**Part 2:**", "- Width:".
_LABEL = linear.bounded(
    r"\n[ *]{0,4}(?:(?:part|question|answer)[ *]{1,3})?\(?(?:[a-e]|[1-9]|i{1,3}|iv|v)[):]{1,2}[ *:]{0,4}"
    r"|\n[-*][ ]{1,3}\*{0,2}[a-z]{1,20}(?:[ ][a-z]{1,20})?[ ]?:[ *]{0,4}",
    re.IGNORECASE,
)
_NO_LINK = " $\n\t\r."
_PLACEHOLDERS = frozenset((
    "", "answer", "youranswer", "finalanswer", "yourfinalanswer", "theanswer", "answerhere", "youranswerhere",
    "finalanswerhere", "insertanswer", "insertanswerhere", "yourresult", "solution", "yoursolution", "result", "ans",
))  # fmt: skip
_FILLER = linear.compile(
    r"\\[hv]?phantom\{[^{}]*\}|\\(?:text[a-z]*|mathrm|mathbf|mbox|[cl]?dots|q?quad)|[\s{}$\\.,;:!?~\[\]<>()_*\u2026-]"
)


@dataclass(frozen=True, slots=True)
class Box:
    """A box's content, and where in the text the box begins and ends."""

    content: str
    start: int
    end: int


def last_box(text: str, *, echoes: bool = False) -> Box | None:
    """The last box of ``text`` that holds something.

    Boxes that follow one another with nothing between them but layout and words such as "and" are one answer of
    several parts, ``1, 2``; a box that is empty or repeats the instruction (``\\boxed{...}``) is none. ``echoes``: take
    such a box where it holds words.
    """
    end = len(text)
    for _ in range(_TRIES):
        start = _last_start(text, end)
        if start < 0:
            return None
        box = _box_at(text, start)
        if box is not None and _counts(box.content, echoes):
            return _with_joined(text, box)
        end = start
    return None


def _counts(content: str, echoes: bool) -> bool:
    return any(map(str.isalnum, content)) if echoes else not is_placeholder(content)


def is_placeholder(content: str) -> bool:
    """Whether the content of a box is what an instruction has there: nothing, dots or "your answer"."""
    if content.isdecimal() or len(content) >= 60 or r"\{" in content:
        return False
    return _FILLER.sub("", content).lower() in _PLACEHOLDERS


def _last_start(text: str, end: int) -> int:
    start = text.rfind(_NAMES[0], 0, end)
    if r"\f" in text:
        for name in _NAMES[1:]:
            start = max(start, text.rfind(name, 0, end))
    return start


def _box_at(text: str, start: int) -> Box | None:
    """The box at ``start``; None where its braces never close."""
    name = _NAMES[0]
    if not text.startswith(name, start):
        name = next(name for name in _NAMES if text.startswith(name, start))
    first = _content_start(text, start + len(name))
    if text[first - 1 : first] != "{":
        unbraced = _UNBRACED.match(text[first : first + BOX_CHARS]) if name == _NAMES[0] else None
        return Box(unbraced[0], start, first + unbraced.end()) if unbraced else None
    end = text.find("}", first, first + BOX_CHARS)
    if end >= 0 and text.find("{", first, end) < 0 and text[end - 1] != "\\":
        return Box(text[first:end], start, end + 1)
    depth = 1
    for match in _BRACES.finditer(text, first, first + BOX_CHARS):
        depth += (match[0] == "{") - (match[0] == "}")
        if depth == 0:
            return Box(text[first : match.start()], start, match.end())
    return _forgotten_brace(text, start, first, depth)


def _forgotten_brace(text: str, start: int, first: int, depth: int) -> Box | None:
    """A box that lacks its own brace at the end of the text: ``\\boxed{\\frac{3}{4}``. A cut one ends otherwise."""
    content = text[first:].rstrip(" \n$.")
    is_whole = depth == 1 and content.endswith("}") and len(content) < BOX_CHARS
    return Box(content, start, len(text)) if is_whole and "\n" not in content else None


def _content_start(text: str, at: int) -> int:
    """Where the content of a box begins: after its brace, or after white space where it has none."""
    if text.startswith("{", at):
        return at + 1
    window = text[at : at + BOX_CHARS]
    at += len(window) - len(window.lstrip())
    return at + text.startswith("{", at)


def _with_joined(text: str, last: Box) -> Box:
    if _last_start(text, last.start) < 0:
        return last
    boxes = [last]
    while len(boxes) < _TRIES:
        before = _last_start(text, boxes[-1].start)
        if before < 0 or boxes[-1].start - before > BOX_CHARS:
            break
        earlier = _box_at(text, before)
        if (
            earlier is None
            or text[earlier.end - 1] != "}"
            or not _is_joined(text[earlier.end : boxes[-1].start])
        ):
            break
        if earlier.end > boxes[-1].start or is_placeholder(earlier.content):  # around it, or empty
            break
        boxes.append(earlier)
    return Box(", ".join(box.content for box in reversed(boxes)), boxes[-1].start, last.end)


def _is_joined(gap: str) -> bool:
    gap = _LABEL.sub("\n", gap).replace("\n- ", "\n").replace("\n* ", "\n")  # items of a list
    return len(gap) <= _GAP_CHARS and (not gap.strip() or _JOINED.match(gap) is not None) and "." not in gap
