r"""Strings as words, to find the same problem in another form: exact comparison and overlap of n-grams.

A word is a run of letters, a number, a LaTeX command, or any other sign by itself, so that 7 + 5 and 7 - 5 differ. What
only changes the appearance is dropped: case, spaces, punctuation, dollars, braces, \left, \dfrac for \frac, thousands
separators. Chinese characters are words by themselves.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

NGRAM = 8
"""Words in an n-gram: Llama 3 and Tulu 3 (arXiv 2411.15124, section 3.2) use 8 tokens, GPT-3 13 words."""
SHARE = 0.5
"""A hit is a problem of which more than this share of the words lies in common n-grams: Tulu 3's half."""

_WORD = re.compile(r"\d{1,3}(?:,\d{3})+(?![\d,])|\d+|[a-z]+|\\[a-z]+|[^\s]")
_SPACING = re.compile(r"\\[,;:! ()\[\]]")
_FRACTION = re.compile(r"\\[dt]?frac\s*(\d)\s*(\d)(?!\d)")
_FIGURE, _FIGURE_END = ["[", "asy", "]"], ["[", "/", "asy", "]"]
_LOOKS = frozenset(
    (*("\\" + name for name in ("left", "right", "displaystyle", "quad", "qquad", "big", "bigl", "bigr")),
     *("\\" + name for name in ("text", "textbf", "textit", "mathrm", "mathbf", "mbox")),
     *".,;:!?'\"`\u2018\u2019\u201c\u201d\u3002\uff0c$&~{}")
)  # fmt: skip
_SAME = {"\\dfrac": "\\frac", "\\tfrac": "\\frac", "\\cdots": "\\dots", "\\ldots": "\\dots", "\\le": "\\leq",
         "\\ge": "\\geq", "\\ne": "\\neq", "\u2212": "-", "\u00d7": "\\times", "\\cdot": "\\times"}  # fmt: skip


def words(text: str) -> list[str]:
    """The words of a string, in its order; [] where it has none."""
    text = unicodedata.normalize("NFKC", text).lower()
    text = _FRACTION.sub(r"\\frac{\1}{\2}", _SPACING.sub(" ", text))
    found = []
    for word in _WORD.findall(text):
        if word not in _LOOKS:
            found.append(_SAME.get(word) or (word.replace(",", "") if len(word) > 1 else word))
    return found


def key(text: str) -> str:
    """Equal for strings that differ only in what `words` drops."""
    return " ".join(words(text))


def without_figures(of: Sequence[str]) -> list[str]:
    """Words without those of Asymptote drawings, whose commands are alike in problems that are not."""
    left, drawing = [], False
    for at, word in enumerate(of):
        if word == "[" and list(of[at : at + 3]) == _FIGURE:
            drawing = True
        if not drawing:
            left.append(word)
        elif word == "]" and list(of[max(0, at - 3) : at + 1]) == _FIGURE_END:
            drawing = False
    return left


def numbers(of: Sequence[str]) -> list[str]:
    """The numbers among words, in their order."""
    return [word for word in of if word[0].isdecimal()]


def in_order(some: Sequence[str], among: Sequence[str]) -> bool:
    """Whether all of `some` occur in `among` in this order, with anything in between."""
    rest = iter(among)
    return all(one in rest for one in some)


class OverlapIndex:
    """The n-grams of many word lists, to find for another one how much of each of them occurs in it.

    One of fewer than n words has no n-gram and is never found: those are compared exactly (`key`).
    """

    def __init__(self, lists: Sequence[Sequence[str]], n: int = NGRAM) -> None:
        self.n = n
        self._lengths = [len(words) for words in lists]
        places: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
        for index, text in enumerate(lists):
            for start in range(len(text) - n + 1):
                places[tuple(text[start : start + n])].append((index, start))
        self._places = places

    def shares(self, text: Sequence[str]) -> dict[int, float]:
        """For each indexed one with a common n-gram: the share of ITS words that lie in a common n-gram, (0, 1]."""
        n = self.n
        common = {tuple(text[start : start + n]) for start in range(len(text) - n + 1)} & self._places.keys()
        starts: dict[int, list[int]] = defaultdict(list)
        for ngram in common:
            for index, start in self._places[ngram]:
                starts[index].append(start)
        return {index: _covered(found, n) / self._lengths[index] for index, found in starts.items()}


def _covered(starts: list[int], n: int) -> int:
    """Number of positions that the intervals [start, start + n) cover together."""
    covered, end = 0, -1
    for start in sorted(starts):
        covered += start + n - max(start, end)
        end = start + n
    return covered
