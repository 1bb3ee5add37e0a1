"""The answers that a response states outside a box: "the answer is 42", a heading, ``<answer>``, "#### 42"."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from dipo_eval import linear
from dipo_eval.grading.math.changing_words import is_changed_after
from dipo_eval.grading.math.concluded import conclusion
from dipo_eval.grading.math.normalize import without_bold

STATED_CHARS = 20_000
"""The most characters of one stated answer that are looked at."""
_TRIES = 12
_TAG_CHARS = 200
"""A tag with more holds a solution, which ends with the answer."""

# What comes before an answer; the answer begins where the match ends. One row a form.
_INTRODUCTIONS = (
    r"\#\#\#\#\s{0,12}(?=\S)(?!\*{0,2}(?:\d{1,2}[.)]\s{1,4}\*{0,2}[A-Za-z]|(?:step|part|case|phase)\b))",
    r"(?:<(?:answer|solution|final_answer|ans|output|response)>|\[(?:answer|ans)\])\s{0,12}",
    r"\"(?:final[_ ]?)?answer\"\s{0,4}:\s{0,4}(?=\S)",
    r"\b(?:correct|right|best)\ (?:option|choice)(?:\s(?:is|would\ be)\b|[:=])[\s*_]{0,12}:?[\s*_]{0,12}(?=\S)",
    # "the answer to the question is", "answer: "
    r"""\banswers?\b(?!\s{0,3}</) (?:\s{1,4}(?:to|for|of|in)\b[^.:=\n]{0,80}?)?
        [\s*_]{0,12}(?:\s(?:is|are|should\ be|must\ be|would\ be|will\ be|equals|becomes)\b|[:=\uff1a])
        (?:\s{0,4}(?:therefore|thus|hence|then|simply|just|indeed|equal\ to|exactly)\b,?)?
        [\s*_]{0,12}(?:[:=\uff1a])?[\s*_]{0,12}(?=\S)""",
    r"\banswer['\u2019]s\s(?=[\d$\\(*-])",
    # a heading or bold words on a line of their own, or before the answer: **Final Answer**, ## Answer
    r"""(?:^|\n)[ \t]{0,8}\#{1,6}[ \t]{0,8}\*{0,3}(?:the\ )?(?:final\ )?answers?\*{0,3}[ \t]{0,8}:?\*{0,3}
        [ \t]{0,8}\n\s{0,12}(?=\S)""",
    r"\*\*(?:the\ )?(?:final\ )?answers?[ \t]{0,4}:?\*\*[ \t]{0,8}:?\s{0,12}(?=\S)",
    r"(?:^|\n)[ \t]{0,8}(?:the\ )?final\ answers?[ \t]{0,8}\n\s{0,12}(?=\S)",
    r"(?:\u6700\u7ec8)?\u7b54\u6848\s{0,4}\u3011?(?:\u5e94\u8be5|\u5c31)?(?:\u662f|\u4e3a|\u9009)?\s{0,4}[:\uff1a]?[\s*_]{0,12}(?=\S)",
    r"(?:^|\n)\s{0,8}\*{0,2}\u7b54\s{0,4}[:\uff1a][\s*_]{0,12}(?=\S)|\u6545\u9009\s{0,4}[:\uff1a]?[\s*_]{0,12}(?=[A-Z(])",
    r"(?:^|\n)\s{0,8}\*{0,3}(?:final\ )?(?:ans|result)\b\.?\*{0,3}[:=.]?\*{0,3}[ \t]{0,8}(?=[\d$\\(+-])",
)
# Other languages: only a value that is all of the rest of its sentence, since the words after it are not read.
_FOREIGN = (
    r"respuesta(?:\ (?:final|correcta))?(?:\ es|\s{0,2}:)|r\u00e9ponse(?:\ (?:finale|correcte))?(?:\ est|\s{0,2}:)"
    r"|risposta(?:\ (?:finale|corretta))?(?:\ \u00e8|\s{0,2}:)|resposta(?:\ (?:final|correta))?(?:\ \u00e9|\s{0,2}:)"
    r"|\b(?:end)?antwort(?:\ ist|\s{0,2}:)|\u043e\u0442\u0432\u0435\u0442\s{0,2}:"
    r"|\u7b54\u3048\s{0,2}(?:\u306f|[:\uff1a])|\ub2f5\s{0,2}(?:[:\uff1a]|\uc740)"
)
_ALL_OF_IT = (
    r"(?=[*_]{0,3}(?:\$[^$\n]{1,80}\$|[$\u20ac\u00a3]?[+-]?\d[\d.,/]{0,30}|\(?[A-J]\)?)[*_]{0,3}"
    r"(?:\u3067\u3059|\uc785\ub2c8\ub2e4)?\s{0,3}(?:[.!\u3002]?[*_]{0,3}[ \t]{0,3}(?:\n|$)|[.!\u3002]\s))"
)
_IN_OTHER_LANGUAGES = rf"(?:{_FOREIGN})[\s*_]{{0,9}}{_ALL_OF_IT}"
# What each of them begins with, so that most places are left at once.
_FIRST = r"(?:(?=(?-i:[\#<\[\"cCrRbBaAeE*\n\u6700\u7b54\u6545\u043e\u041e\ub2f5]))|^)"
_INTRODUCTION = linear.bounded(
    _FIRST + "(?:" + "|".join(f"(?:{one})" for one in (*_INTRODUCTIONS, _IN_OTHER_LANGUAGES)) + ")",
    re.IGNORECASE | re.VERBOSE,
)
# Every introduction holds one of these, none with a letter of which Unicode has other forms that casefold() keeps.
_NEEDED = (
    "####", "ans", "opt", "cho", "result", "solut", "output", "respon", "\u7b54", "\u6545\u9009", "respuesta",
    "r\u00e9ponse", "risposta", "resposta", "antwort", "\u043e\u0442\u0432\u0435\u0442", "\ub2f5",
)  # fmt: skip
_HYPOTHETICAL = linear.bounded(r"(?:would|should|must)\ be", re.IGNORECASE | re.VERBOSE)
_MATH = (("$$", "$$"), ("$", "$"), (r"\[", r"\]"), (r"\(", r"\)"))
_ENVIRONMENT = linear.bounded(r"\\begin\{[a-z]{1,12}\*?\}")
_SENTENCE_END = linear.bounded(r"(?:[.?]|(?<!\\)!)(?=\s|$|\*|<|\))|\n|\u3002|</")
_BOLD_END = linear.bounded(r"(?<=\S)\*\*(?=[\s.,;:)]|$)")
_REASON = linear.compile(  # where it starts counts, not where it ends
    r",?\s+(?:because|since|as|so|which|where|when|with|by|after|given|if|once|using)(?:\W|\Z)"
    r"|\s+[\u2013\u2014]\s+[a-zA-Z]"
    r"|,?\s+(?:and\s+)?(?:not|instead\s+of|rather\s+than)\s"
    r"|,\s+(?:and\s+)?(?:the|we|that|it|in|for|this|i)(?:\W|\Z)|\s+\([a-zA-Z\s,]*[a-z]{2}"
)
_GOES_ON = linear.compile(
    r"\s*(?:,|and\s|or\s|/|\u6216|\u548c)\s*(?:(?:and|or)\s*)?(?:\$|\\\()?\s*[\d\\(+-]"
    r"|\s*(?:\(\s*)?(?:or\s|\u6216)\s*(?:(?:maybe|perhaps|possibly|even)\s+)?(?:\$|\\\(|[\d-])"
    r"|\s*(?:[;:\u2013-]|to\s|through\s|as\s+well\s+as\s|plus\s|minus\s|over\s|remainder\s)\s*(?:\$|\\\()?\s*\d"
    r"|\s*(?:thousand|million|billion|trillion|hundred|dozen|squared|cubed)(?:\W|\Z)"
    r"|\s?(?:\u00d7|\u00b7|\\times|\\cdot|\*|\+)\s?(?:\$|\\\()?\s?[\d\\]|[%^\u03c0\u221aa-zA-Z]"
    r"|\s?\+\s?(?:\$|\\\()|\s[a-z]+\sand\s\$?\d"
)
_STEP = linear.bounded(r"\s{0,9}(?:\n|;|,\s)\s{0,9}")
_COMPUTED = linear.compile(
    r"[^a-zA-Z=\\\d]*\d[^a-zA-Z=\\+*/\u00d7\u00f7-]*[+*/\u00d7\u00f7-][^a-zA-Z=\\]*=[\s$\d.,]+\Z"
)  # 9 * 2 = $18
_DOLLAR = linear.bounded(r"(?<!\\)\$")
_MONEY = linear.bounded(r"\$\d[\d.,]{0,30}(?:\s{1,3}[a-z]{2}|[.!?]?\s{0,3}$|[.!?]\s|\s{0,3}\()", re.MULTILINE)
_VALUE = linear.bounded(r"[\d\\]|^\W{0,4}[A-Za-z]\W{0,4}$|[=<>\u221a\u03c0\u221e]")


@dataclass(frozen=True, slots=True)
class Statement:
    """A stated answer. ``is_value``: it holds a number, a formula or one letter. ``is_firm``: no "would be"."""

    text: str
    start: int
    is_value: bool
    is_firm: bool


def last_statement(text: str) -> Statement | None:
    """The last statement with a value; without one, the last of words ("the answer is east")."""
    folded = text.casefold()
    if not any(needed in folded for needed in _NEEDED):
        return None
    found: list[Statement] = []
    for match in list(_INTRODUCTION.finditer(text))[-_TRIES:]:
        answer = _answer_at(text, match.end(), match[0].strip().lower())
        if answer:
            is_value = _VALUE.search(answer) is not None
            firm = _HYPOTHETICAL.search(match[0]) is None
            found.append(Statement(answer, match.start(), is_value, firm))
    values = [one for one in found if one.is_value]
    return (values or found)[-1] if found else None


def _answer_at(text: str, at: int, introduced: str) -> str | None:
    """The answer that begins at ``at``: what a tag or JSON holds, a formula, else the rest of the sentence."""
    rest = text[at : at + STATED_CHARS]
    if introduced.startswith(("<", "[")):
        closing = linear.bounded(re.escape(f"{introduced[0]}/{introduced[1:]}"), re.IGNORECASE).search(rest)
        inner = (rest[: closing.start()] if closing else rest).strip()
        if len(inner) > _TAG_CHARS:
            return conclusion(inner)
        steps = _STEP.split(inner)
        return (steps[-1] if all(map(_COMPUTED.match, steps)) else inner) or None
    if introduced.startswith('"'):
        return _json_value(rest)
    if text[at - 1] == "\n" and rest.startswith("> "):  # a quotation in Markdown
        rest = rest[2:]
    if rest.startswith("```"):
        rest = rest.partition("\n")[2]
    rest = rest.lstrip("*_ \t\"'\u201c`")
    if rest.partition("\n")[0].count("**") % 2:  # the mark that opened it was before the answer
        rest = _BOLD_END.sub("", rest, count=1)
    span = _formula(rest)
    if span is not None and not (_GOES_ON.match(span[1]) or is_changed_after(span[1])):
        return span[0].strip() or None
    cut = None if span else _SENTENCE_END.search(rest)
    if span is not None:  # "$5$ or $6$": from the formula to the end of the sentence
        length = len(rest) - len(span[1])
        after = _SENTENCE_END.search(span[1])
        line = rest[: length + after.start()] if after else rest
    else:
        line = rest[: cut.start()] if cut else rest
    reason = _REASON.search(line)
    hedged = reason and (
        reason[0].lstrip().lower().startswith("(or") or "alternative" in line[reason.start() :].lower()
    )
    if reason and not hedged:
        line = line[: reason.start()]
    line = without_bold(line.strip()).strip("*_`\"'\u201c\u201d").strip()
    return line.removesuffix("\u3067\u3059").removesuffix("\uc785\ub2c8\ub2e4") or None


def _json_value(text: str) -> str | None:
    """The number or text with which ``text`` begins, in JSON."""
    try:
        value, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return str(value) if isinstance(value, int | float | str) and str(value).strip() else None


def _formula(text: str) -> tuple[str, str] | None:
    """The formula that ``text`` begins with, and what follows it; None where it begins with something else."""
    if _MONEY.match(text):
        return None
    environment = _ENVIRONMENT.match(text)
    if environment:
        ending = environment[0].replace("begin", "end", 1)
        inner, closed, after = text.partition(ending)
        return (inner + closed, after) if closed else None
    for opening, closing in _MATH:
        if not text.startswith(opening):
            continue
        if opening == "$":
            end = _DOLLAR.search(text, 1)
            return (text[1 : end.start()], text[end.end() :]) if end else None
        inner, closed, after = text[len(opening) :].partition(closing)
        return (inner, after) if closed else None
    return None
