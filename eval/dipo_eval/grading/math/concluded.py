"""The value with which a response ends, for one that neither boxes nor states an answer."""

from __future__ import annotations

import re

from dipo_eval import linear
from dipo_eval.grading.math.changing_words import is_changed_after
from dipo_eval.grading.math.peel import EVERY, VERBS

_TAIL_CHARS = 600
_ONE = (
    r"\$\$[^$\n]{1,80}\$\$|\$(?:\\\$)?[^$\n]{1,80}\$"
    r"|\\\((?:[^\n\\]|\\[^()\n]){1,80}\\\)|\\\[(?:[^\n\\]|\\[^\[\]\n]){1,80}\\\]"
    r"|(?:\\?[$\u20ac\u00a3\u00a5])?[+-]?\d[\d.,/:]{0,30}%?"
)
# The last sentence of a response: "So she pays $29.", "The solutions are $7$ and $6$.", "9 * 2 = $18".
_CONCLUDED = linear.bounded(
    rf"\*{{0,2}}((?:{_ONE})(?:(?:,|,?\ (?:and|or))\ (?:{_ONE})){{0,5}})\*{{0,2}}"
    r"((?:\s{1,3}[a-z][a-z'-]{0,20}){0,7})\s{0,3}\*{0,2}[.!]?\*{0,2}\s{0,9}$"
)
# "**18 dollars** a day" on a line of its own.
_BOLD_ALONE = linear.bounded(
    rf"\s{{0,9}}\*\*((?:{_ONE})(?:\s[a-z][a-z'-]{{0,20}}){{0,4}})\.?\*\*((?:\s[a-z][a-z'\u2019-]{{0,20}}){{0,7}})[.!]?\s{{0,9}}$"
)
_NOT_CONCLUDED = linear.compile(
    r"(?:^|\W)(?:not|cannot|can|never|might|may|could|maybe|perhaps|possibly|either|between|at\s+least|at\s+most|about"
    r"|assume|suppose|where|when|since|because|if|let|guess|unsure|first|than|n't|or|before|initially|originally|already"
    r"|considered|each|every|step)(?:\W|\Z)",
    re.IGNORECASE,
)
# "所以她每天赚18美元。"
_CHINESE = linear.bounded(
    r"[\u662f\u4e3a\u6709\u5171\u8d5a\u5f97\u4e8e\u8981\u82b1\u4ed8\u5269\u4e86=]\s?\*{0,2}"
    rf"({_ONE})\*{{0,2}}\s?([\u4e00-\u9fff]{{0,6}})\*{{0,2}}[\u3002.!\uff01]?\*{{0,2}}\s{{0,9}}$"
)
_CHINESE_DOUBT = linear.bounded(
    r"[\u4e0d\u975e\u7ea6\u6216\u81f3\u8d85\u7b2c]|\u53ef\u80fd|\u5927\u4e8e|\u5c0f\u4e8e|\u5982\u679c|\u5047\u8bbe"
)
_SENTENCE_START = linear.bounded(r"(?:(?:[.?]|(?<![\dn)])!)(?=\s)|\n|\u3002(?=.))", re.DOTALL)
_SO = linear.bounded(r",\s(?:and\s)?(?:so|hence|thus|therefore)\s", re.IGNORECASE)
_WORD = linear.bounded(r"[A-Za-z]{2}")
_FORMULA = linear.bounded(r"\$[^$\n]{1,200}\$|\\\([^\n]{1,200}?\\\)")
_DISPLAYS = (("$$", "$$"), (r"\[", r"\]"))


def conclusion(text: str) -> str | None:
    """The value with which the last sentence ends, after a verb or "=", or a display of an equation."""
    tail = text.rstrip()[-_TAIL_CHARS:]
    display = _last_display(tail)
    if display is not None:
        return display
    ends = [match.end() for match in _SENTENCE_START.finditer(tail)]
    sentence = tail[ends[-1] :] if ends else tail
    alone = _BOLD_ALONE.match(sentence) if not ends or tail[ends[-1] - 1] == "\n" else None
    if alone and not _NOT_CONCLUDED.search(EVERY.sub("", alone[2])) and VERBS.isdisjoint(alone[2].split()):
        before = tail[: ends[-1]].rstrip().rpartition("\n")[2] if ends else ""
        return None if _NOT_CONCLUDED.search(before) or is_changed_after(alone[2]) else alone[1]
    if not sentence.isascii() and not _CHINESE_DOUBT.search(sentence):
        chinese = _CHINESE.search(sentence)
        if chinese:
            return chinese[1] + chinese[2]
    found = _CONCLUDED.search(sentence)
    if found is None:
        return None
    said = sentence[: found.start()] + sentence[found.end(1) :]
    if _NOT_CONCLUDED.search(EVERY.sub("", said)):
        return None
    if found.start() and sentence[found.start() - 1] not in " \t=*:":
        return None  # a part of something: a response that was cut in "the interval $[15,18]$"
    if sentence.rstrip()[-1:].isdigit() and _WORD.search(sentence[: found.start()]):
        return None  # without an end it may be a part: "for n = 1" of "for n = 1984"
    return found[1] + found[2] if _is_told(sentence[: found.start()].rstrip(" $*:"), found[1]) else None


def is_sentence(text: str) -> bool:
    """Whether a short text that is no fragment says something with a verb, or in Chinese."""
    return text.endswith((".", "!", "*", "$", "\u3002")) and (
        any("\u4e00" <= char <= "\u9fff" for char in text) or not VERBS.isdisjoint(text.lower().split())
    )


def _is_told(before: str, value: str) -> bool:
    """Whether the words before a value, or the value itself as an equation, say that it is the result."""
    if before.endswith("="):
        return True
    before = _SO.split(before)[-1]
    if any(map(str.isdigit, _FORMULA.sub("", before))):
        return False
    return "=" in value or not VERBS.isdisjoint(before.lower().replace(",", " ").split())


def _last_display(tail: str) -> str | None:
    """The equation in the display with which ``tail`` ends."""
    for opening, closing in _DISPLAYS:
        if not tail.rstrip(".").endswith(closing):
            continue
        before, opened, inner = tail.rstrip(".")[: -len(closing)].rpartition(opening)
        paragraph = before.rstrip().rpartition("\n")[2]
        if opened and "=" in inner and "\n\n" not in inner and not _NOT_CONCLUDED.search(paragraph):
            return inner.strip()
    return None
