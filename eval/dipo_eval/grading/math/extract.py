"""Find the final answer in a response: the last box or a firm statement after it, else a stated or a bare answer."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dipo_eval import linear
from dipo_eval.grading.final_text import final_text
from dipo_eval.grading.math.boxes import Box, last_box
from dipo_eval.grading.math.changing_words import SCALE_WORDS
from dipo_eval.grading.math.closing import chosen_option, without_courtesy
from dipo_eval.grading.math.concluded import conclusion, is_sentence
from dipo_eval.grading.math.peel import VERBS
from dipo_eval.grading.math.stated import Statement, last_statement

SEARCH_CHARS = 200_000
"""Characters at the end of a response that are searched: a response of 32k tokens has about 130,000."""
_BARE_CHARS = 200
_STATEMENT_MARKS = ("nswer", "NSWER", "####", "\u7b54\u6848")
_BOX_MARK = "<|begin_of_box|>"
_SHORTEST_STATEMENT = len("####1")
_ASSUMED = linear.bounded(r"(?:let(?:'s|\u2019s)?|suppose|assume|if|step|consider)\s", re.IGNORECASE)
_VALUE_AND_UNIT = linear.bounded(r"\\?\$?\d[\d.,]{0,20}(?:\s[a-z]{1,15}){1,5}\.?\s{0,3}$")
_REMARK = linear.bounded(r"[a-z]{2}[a-z'\u2019]{0,20}\s(?!=)", re.IGNORECASE)  # "between 40 and 50", "not 43"
_MINUS = linear.bounded(r"(?:^|[\n$=(\[:])\s{0,3}-$")
_ATOM = linear.bounded(
    r"[A-Za-z]|\\?\$?\d{1,3}(?:,\d{3}){1,9}|\d{0,40}\.?\d{1,40}|\\[dt]?frac\{\d{1,20}\}\{\d{1,20}\}"
)
_AFTER_BOX = linear.bounded(
    r"(\s?/\s?\d{1,20}|\s?\\pi(?![a-z])|\s?\^\{?\d{1,9}\}?|\s?\\sqrt\{[^{}\n]{1,40}\}"
    rf"|\s(?:{SCALE_WORDS})(?![a-z]))"
)
_PROSE = linear.compile(r"[A-Za-z]{2,}\s+[A-Za-z]{2,}\s+[A-Za-z]{2,}")


@dataclass(frozen=True, slots=True)
class Extraction:
    """The answer, and how it was found: ``boxed``, ``stated`` (``after a box``), ``concluded``, ``bare`` or ``none``."""

    text: str | None
    how: str


def extract_answer(response: str) -> Extraction:
    """The final answer of ``response`` without its thoughts.

    The last box; but a statement after it that names a value ("Final Answer: 10,455") replaces it. Without a box, the
    last stated answer, else the value with which the last sentence ends, else a response that is nothing but an
    answer. Boxes joined by "and" or "or" are one list, so that a hedge over two boxes is not one answer. Only the last
    ``SEARCH_CHARS`` characters are searched.
    """
    text = final_text(response[-SEARCH_CHARS:] if len(response) > SEARCH_CHARS else response)
    if _BOX_MARK in text:  # GLM-4.1V and later
        text = text.replace(_BOX_MARK, r"\boxed{").replace("<|end_of_box|>", "}")
    if "\x08" in text:  # "\b" that a JSON or Python string turned into a backspace
        text = text.replace("\x08oxed", r"\boxed")
    box = last_box(text)
    if box is not None:
        later = _later_statement(text, box)
        return (
            Extraction(_with_touching(text, box), "boxed")
            if later is None
            else Extraction(later.text, "stated after a box")
        )
    stated = last_statement(text)
    if stated is not None:
        return Extraction(stated.text, "stated")
    text = without_courtesy(text)
    option = chosen_option(text)
    if option is not None:
        return Extraction(option, "concluded")
    stripped = _unfenced(text.strip())
    is_bare = len(text) <= 4 * _BARE_CHARS and _is_bare(stripped)
    concluded = None if is_bare and not is_sentence(stripped) else conclusion(text)
    if concluded is None and is_bare:
        return Extraction(stripped, "bare")
    if concluded is None:
        echo = last_box(text, echoes=True)
        return Extraction(None, "none") if echo is None else Extraction(echo.content, "boxed")
    return Extraction(concluded, "concluded")


def _with_touching(text: str, box: Box) -> str:
    """The box's content with what was left outside of it and belongs to the value: a sign, a factor, "million"."""
    if text.count("boxed", box.start, box.end) > 1:
        return box.content
    sign = "-" if _MINUS.search(text[max(0, box.start - 20) : box.start]) else ""
    after = _AFTER_BOX.match(text, box.end)
    if not sign and not after:
        return box.content
    content = box.content if _ATOM.fullmatch(box.content.strip()) else f"({box.content})"
    return f"{sign}{content}{after[1] if after else ''}"


def _later_statement(text: str, box: Box) -> Statement | None:
    """A statement after ``box`` that replaces it: one that is a value in few words, and no remark about one."""
    after = text[box.end :]
    if len(after) < _SHORTEST_STATEMENT or not any(mark in after for mark in _STATEMENT_MARKS):
        return None
    stated = last_statement(after)
    if stated is None or not stated.is_value or not stated.is_firm or _PROSE.search(stated.text):
        return None
    if _REMARK.match(stated.text):
        return None
    return None if "boxed" in stated.text else stated


def _unfenced(text: str) -> str:
    """A code block that is all of a response, without its fence."""
    return text[3:-3].partition("\n")[2].strip() if text.startswith("```") and text.endswith("```") else text


def _is_bare(text: str) -> bool:
    """Whether a response is nothing but an answer: one short line, no sentence."""
    if _VALUE_AND_UNIT.match(text) and VERBS.isdisjoint(text.lower().split()):
        return True
    if len(text) > _BARE_CHARS or "\n" in text or "boxed" in text or "answer" in text.lower():
        return False
    return any(char.isalnum() for char in text) and not (_PROSE.search(text) or _ASSUMED.match(text))
