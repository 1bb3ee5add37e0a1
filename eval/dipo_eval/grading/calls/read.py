"""Read the calls of one answer for ``strict``: native forms, JSON, Python, Java; then what stands among other text."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from dipo_eval import linear
from dipo_eval.grading.calls.bfcl import Language
from dipo_eval.grading.calls.chosen_form import ANY, read_chosen
from dipo_eval.grading.calls.java_calls import read_java
from dipo_eval.grading.calls.native_forms import form_of
from dipo_eval.grading.calls.python_calls import parse_expression, read_python, read_statements
from dipo_eval.grading.calls.response_text import (
    MAX_CHARS,
    Call,
    answer_text,
    as_call,
    bracketed,
    looks_like_json,
    read_json,
    tagged_blocks,
    unfenced,
)
from dipo_eval.grading.calls.unread import UnreadableError

MAX_SPANS = 16
"""Of text among which calls are looked for."""
_STRUCTURE = linear.bounded(r"[\[\]\"'\\]")
_FENCED = linear.compile(r"```[\w+-]*[ \t]*\n((?:[^`]|`[^`]|``[^`])*)```")
_PRINT = linear.compile(r"\s*print\((.*)\)\s*\Z", re.DOTALL)
_ITEM = linear.bounded(r"(?:[-*]|\d{1,2}[.)])[ \t]{1,4}")
_ANNOUNCEMENT = linear.bounded(
    r"(?:(?:here|is|are|the|my|this|final|correct|required|appropriate|following|resulting|function|tool|api)"
    r"[ \t]{1,4}){0,8}"
    r"(?:calls?|answer)(?:[ \t]{1,4}(?:is|are))?[ \t]{0,4}:",
    re.IGNORECASE,
)
_LITERAL_ERRORS = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)


def read_answer(response: str, language: Language, chosen: str = ANY) -> list[Call]:
    """The calls in ``response`` without its thoughts; [] for an empty answer. Raises UnreadableError.

    ``chosen``: a name of ``CALL_FORMS``, in whose form alone calls are read; Java and JavaScript are in any.
    """
    text = answer_text(response)
    if chosen != ANY and language is Language.PYTHON:
        return read_chosen(text, chosen, lambda: _in_any_form(text, language))
    return _in_any_form(text, language)


def _in_any_form(text: str, language: Language) -> list[Call]:
    form = form_of(text)
    if form is not None:
        return form.calls_in(text)
    if "\\_" in text:  # Markdown's escape
        text = text.replace("\\_", "_")
    if language is not Language.PYTHON:
        if looks_like_json(text):
            return read_json(text)
        return read_java(bracketed(text)[1:-1], language, official=False)
    try:
        return _whole(text)
    except UnreadableError:
        calls = _among_text(text)
        if calls:
            return calls
        raise


def _whole(text: str) -> list[Call]:
    """``text`` as calls and nothing else."""
    if len(text) > MAX_CHARS:
        raise UnreadableError("longer than any call")
    if looks_like_json(text):
        try:
            return read_json(text)
        except UnreadableError:
            blocks = tagged_blocks(text)
            calls = (
                _python_data(text)
                if blocks == [text]
                else [call for one in blocks for call in _whole(unfenced(one.strip()))]
            )
            if calls:
                return calls
            raise
    printed = _PRINT.match(text) if text.count("print(") == 1 else None
    if printed:
        text = str(printed[1])
    try:
        return read_python(bracketed(text), official=False)
    except UnreadableError as error:
        if not any(mark in text for mark in (";", "\n", "#", "['", '["')):
            raise
        calls = _code(text) or _statements(text) or _quoted_calls(text)
        if not calls:
            raise error
        return calls


def _code(text: str) -> list[Call]:
    try:
        return read_statements(text)
    except UnreadableError:
        return []


def _statements(text: str) -> list[Call]:
    """``f(x=1); g()``, Raven's form, and a call a line, also as the items of a list and printed."""
    for separator in (";", "\n"):
        pieces = [piece.strip() for piece in text.split(separator) if piece.strip()]
        if not 0 < len(pieces) <= MAX_SPANS:
            continue
        try:
            return [call for piece in pieces for call in _one_statement(piece)]
        except UnreadableError:
            continue
    return []


def _one_statement(text: str) -> list[Call]:
    item = _ITEM.match(text)
    text = text[item.end() :] if item else text
    printed = _PRINT.match(text)
    return read_python(bracketed(str(printed[1]) if printed else text), official=False)


def _quoted_calls(text: str) -> list[Call]:
    """``['f(x=1)']``: a list of texts that are calls."""
    try:
        found = ast.literal_eval(parse_expression(text.strip()))
    except _LITERAL_ERRORS:
        return []
    if not isinstance(found, list) or not 0 < len(found) <= MAX_SPANS:
        return []
    if not all(isinstance(one, str) for one in found):
        return []
    try:
        return [call for one in found for call in read_python(bracketed(one), official=False)]
    except UnreadableError:
        return []


def _python_data(text: str) -> list[Call]:
    """A call as a Python dict, with single quotes, or a list of them."""
    if len(text) > MAX_CHARS or "'" not in text:
        return []
    try:
        found = ast.literal_eval(parse_expression(text.strip()))
        return [as_call(one) for one in (found if isinstance(found, list) else [found])]
    except (*_LITERAL_ERRORS, UnreadableError):
        return []


def _among_text(text: str) -> list[Call]:
    """The calls in fenced blocks, else in lists that stand in other text, else those that begin or end it.

    [] where a block cannot be read.
    """
    if len(text) > MAX_CHARS or "<tool_call>" in text:
        return []
    blocks = [str(match[1]) for match in _FENCED.finditer(text)][:MAX_SPANS]
    calls: list[Call] = []
    try:
        for block in blocks:
            calls += _whole(block.strip())
    except UnreadableError:
        return []
    if blocks:
        return calls
    for span in _lists(text):
        try:
            calls += _whole(span)
        except UnreadableError:
            continue
    return calls or _explained(text) or _announced(text)


def _explained(text: str) -> list[Call]:
    """Paragraphs of calls, then prose that holds nothing like a call."""
    calls: list[Call] = []
    rest = text
    for _ in range(MAX_SPANS):
        paragraph, blank, after = rest.partition("\n\n")
        found = _code(paragraph.strip())
        if not found or not blank:
            break
        calls, rest = calls + found, after
    return calls if calls and not any(mark in rest for mark in "()[]{}<>`") else []


def _announced(text: str) -> list[Call]:
    """``The function call is: f(x=1)``: calls after words that say so and nothing else."""
    words = _ANNOUNCEMENT.match(text)
    return _code(text[words.end() :].strip()) if words else []


def _lists(text: str) -> Iterator[str]:
    """The outermost ``[...]`` of ``text`` with a call in them, in order; brackets inside strings do not count."""
    depth, start, quote, made = 0, 0, "", 0
    escaped = -1  # the place of a character after a backslash
    for match in _STRUCTURE.finditer(text):
        at, char = match.start(), match[0]
        if depth and quote:
            if at == escaped:
                continue
            escaped = at + 1 if char == "\\" else -1
            quote = "" if char == quote else quote
        elif depth and char in "\"'":
            quote, escaped = char, -1
        elif char == "[":
            start = at if not depth else start
            depth += 1
        elif char == "]" and depth:
            depth -= 1
            if not depth and "(" in text[start:at] and made < MAX_SPANS:
                made += 1
                yield text[start : at + 1]


def read_decoded(response: list[Any]) -> list[Call]:
    """Calls given as data: ``{name: {argument: value}}``, or objects with a name and arguments."""
    return [_as_decoded(call) for call in response]


def _as_decoded(call: Any) -> Call:
    if isinstance(call, dict) and len(call) == 1:
        ((name, arguments),) = call.items()
        if isinstance(arguments, dict) and isinstance(name, str) and name != "function":
            return call
    return as_call(call)
