"""How a response ends: a courtesy or a rule below the last sentence, and the option that the last sentence chooses."""

from __future__ import annotations

import re

from dipo_eval import linear

_TAIL_CHARS = 600
_RULE = linear.bounded(r"(?:-{3,20}|\*{3,20}|_{3,20}|(?:\* ){2,9}\*)")
_SAID = r"[^.!?\n\d$\\=]{0,120}"
_COURTESIES = (
    r"(?:i )?hope (?:this|that|it|these)(?: [a-z]{2,12}){0,3} (?:helps?|helped|clear|clarif(?:y|ies))[a-z ]{0,40}",
    rf"(?:please )?(?:just )?let me know (?:if|whether|should) (?:you|there is anything else)\b{_SAID}",
    rf"(?:please )?(?:feel|do) (?:not )?(?:free|hesitate) to (?:ask|reach|let|contact|message)\b{_SAID}",
    rf"(?:please )?(?:don['\u2019]t|do not) hesitate to (?:ask|reach|let|contact)\b{_SAID}",
    r"is there anything else(?: that)? (?:i can|you)[a-z' ]{0,60}",
    rf"(?:if|should) you (?:have|need|want|['\u2019]d like|would like)\b{_SAID}",
    rf"would you like\b{_SAID}",
    r"(?:i['\u2019]m )?(?:always )?(?:happy|glad) to help[a-z ]{0,40}|happy (?:learning|studying|solving)",
    r"(?:thank you|thanks|you['\u2019]re welcome|good luck|have a (?:great|nice|good) day)[a-z ]{0,40}",
)
_COURTESY = linear.bounded(
    rf"(?:(?:{'|'.join(_COURTESIES)})(?:[.!?]{{1,3}}|$)[^\w\n$\\]{{0,9}}){{1,3}}", re.IGNORECASE
)
_LINES = 6

_X = r"\(?(?-i:([A-J]))\)?"
_SO = r"(?:(?:so|thus|hence|therefore|then|consequently|clearly|in conclusion),? )?"
_NAME = r"(?:the )?(?:(?:final )?(?:answer|option|choice) )?"
_GOOD = r"(?:correct|right|best)"
_KIND = r"(?:answer|option|choice)"
_OPTIONS = (
    rf"{_SO}{_NAME}{_X} is (?:the )?{_GOOD}(?: {_KIND})?",
    rf"{_SO}(?:the {_GOOD}|my(?: final)?) {_KIND} (?:is|must be) (?:{_KIND} )?{_X}",
    rf"{_SO}(?:the )?answer must be (?:{_KIND} )?{_X}",
    rf"{_SO}(?:i|we) (?:(?:would|will|['\u2019]ll|['\u2019]d) )?(?:choose|select|pick|go with) (?:{_KIND} )?{_X}",
    rf"{_SO}i['\u2019](?:ll|d) (?:choose|select|pick|go with) (?:{_KIND} )?{_X}",
)
_CHOSEN = linear.bounded("|".join(f"(?:{one})" for one in _OPTIONS), re.IGNORECASE)
_SENTENCE = linear.bounded(r"[.!?\n]\s{0,9}")
_ENDS = (".", "!")


def without_courtesy(text: str) -> str:
    """``text`` without the rules and the offers of help on the lines at its end; never a line with a number."""
    for _ in range(_LINES):
        kept = text.rstrip()
        before, _, line = kept.rpartition("\n")
        line = line.strip()
        if not before.strip() or not (_RULE.fullmatch(line) or _COURTESY.fullmatch(line.strip("*_ "))):
            return text
        text = before.rstrip()
    return text


def chosen_option(text: str) -> str | None:
    """The letter of the option that the last sentence chooses: "D is correct." None where another one is chosen too."""
    tail = text.rstrip()[-_TAIL_CHARS:].replace("**", "").replace("__", "")
    if not tail.endswith(_ENDS):
        return None
    sentences = [one.strip() for one in _SENTENCE.split(tail) if one.strip()]
    chosen = [next(filter(None, found.groups())) for one in sentences if (found := _CHOSEN.fullmatch(one))]
    if not chosen or len(set(chosen)) > 1 or _CHOSEN.fullmatch(sentences[-1]) is None:
        return None
    return str(chosen[-1])
