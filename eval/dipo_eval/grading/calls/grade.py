"""Grade function calls: the verdict that the training reward and the evaluation share.

``compatible`` is bfcl-eval 2026.3.23's own verdict; ``strict`` corrects its defects, by the rules in the table of
docs/evaluation.md, "Function calls", and no others. Arithmetic on literals is folded in both modes. Where bfcl-eval would
evaluate more of the model's text, such as a call inside arithmetic, the response is unreadable.
"""

from __future__ import annotations

import contextlib
import re
from functools import lru_cache
from typing import Any, Literal

from dipo_eval import linear
from dipo_eval.errors import UserError, short_repr
from dipo_eval.grading.calls import official, strict
from dipo_eval.grading.calls.bfcl import Language, language_of
from dipo_eval.grading.calls.chosen_form import ANY
from dipo_eval.grading.calls.java_calls import SlowError, read_java
from dipo_eval.grading.calls.native_forms import form_of, typed
from dipo_eval.grading.calls.python_calls import read_python
from dipo_eval.grading.calls.read import read_answer, read_decoded
from dipo_eval.grading.calls.response_text import MAX_CHARS, Call, answer_text, bracketed, thinks
from dipo_eval.grading.calls.unread import UnreadableError
from dipo_eval.grading.verdict import Verdict

Mode = Literal["strict", "compatible"]

UNFINISHED, BROKEN, IN_TEXT = NOT_ABSTAINED = (
    "an unfinished thought",
    "a broken call",
    "a call in other text",
)
"""Why text without a readable call is no abstention."""

_SHOWN = 300  # characters
_OFFICIAL_ERRORS = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, NotImplementedError)


def grade_calls(
    response: str | list[dict[str, Any]],
    gold: list[dict[str, Any]],
    functions: list[dict[str, Any]],
    *,
    category: str,
    mode: Mode = "strict",
    dots_as_underscores: bool = False,
    form: str = ANY,
) -> Verdict:
    """Grade the calls of one answer in a single-turn category of BFCL.

    ``response``: the model's text, or decoded calls ``[{name: {argument: value}}]``. ``gold``: BFCL's possible
    answers, ``[{name: {argument: [allowed, ...]}}]`` ("" allowed: may be left out); not used for irrelevance and
    relevance. ``functions``: the descriptions offered. ``dots_as_underscores``: the model saw ``a.b`` as ``a_b``.
    ``form``: a name of ``CALL_FORMS``, in whose form alone strict mode reads calls; evaluation reads any.
    Never raises because of ``response``; UserError for an unknown category or mode. Text is parsed with ast, json or a
    grammar, never evaluated. Source: bfcl_eval/eval_checker/ast_eval/ast_checker.py, ast_checker.
    """
    language = language_of(category)
    if mode not in ("strict", "compatible"):
        raise UserError(f"mode {mode!r}: must be strict or compatible")
    calls: list[Any] = []
    refused = ""
    try:
        calls = _read(response, language, mode, form)
        calls = typed(calls, functions) if mode == "strict" else calls
    except SlowError as error:
        return Verdict("undecided", str(error), _shown(response))
    except UnreadableError as error:
        refused = f"no calls: {error}"
    found = _shown(response) if calls else None
    if "relevance" in category:
        return _relevance(response, calls, functions, category, mode, found, refused)
    if refused:
        return Verdict("wrong", refused, found)
    if mode == "strict":
        reason = strict.refusal(calls, gold, functions, language, underscores=dots_as_underscores)
    else:
        try:
            reason = official.refusal(calls, gold, functions, category, language, dots_as_underscores)
        except _OFFICIAL_ERRORS as error:
            reason = f"bfcl-eval raises {type(error).__name__}"
    return Verdict("wrong", reason, found) if reason else Verdict("correct", "equal", found)


def _shown(response: Any) -> str:
    """The end of a text, where the calls are, or the names of the first decoded calls."""
    if isinstance(response, str):
        return response[-_SHOWN:]
    names = [str(next(iter(call), "")) if isinstance(call, dict) else "?" for call in response[:3]]
    return ", ".join(names)[:_SHOWN]


def _read(response: Any, language: Language, mode: Mode, form: str = ANY) -> list[Any]:
    if mode == "strict":
        if isinstance(response, str):
            return read_answer(response, language, form)
        if isinstance(response, list):
            return read_decoded(response)
    if not isinstance(response, str):
        if not isinstance(response, list):
            raise UnreadableError("not a list")
        return response
    text = bracketed(response)
    if language is Language.PYTHON:
        return read_python(text, official=True)
    return read_java(text[1:-1], language, official=True)


def calls_of(response: str | list[dict[str, Any]], category: str, form: str = ANY) -> list[Call] | None:
    """The calls that strict mode reads in ``response``, or None where it reads none."""
    try:
        return typed(_read(response, language_of(category), "strict", form), [])
    except UnreadableError:
        return None


def _relevance(
    response: Any, calls: list[Any], functions: list[dict[str, Any]], category: str, mode: Mode,
    found: str | None, refused: str,
) -> Verdict:  # fmt: skip
    """Irrelevance passes an answer without a call, relevance one with a call; neither has a gold answer."""
    wanted = "irrelevance" not in category
    if mode == "compatible":
        called = bool(calls) and official.is_call_list(calls)
        reason = "a call" if called else "no call"
        return Verdict("correct" if called is wanted else "wrong", reason, found)
    names = {
        name for function in functions for name in (function["name"], function["name"].replace(".", "_"))
    }
    if wanted:
        offered = bool(calls) and not refused and all(next(iter(call)) in names for call in calls)
        reason = "a call" if offered else (refused or ("unknown function" if calls else "no call"))
        return Verdict("correct" if offered else "wrong", reason, found)
    if calls:
        return Verdict("wrong", "a call", found)
    spoken = not_abstained(response, names) if isinstance(response, str) else None
    return Verdict("wrong", spoken, found) if spoken else Verdict("correct", "no call", None)


def not_abstained(response: str, names: set[str]) -> str | None:
    """Why text without a readable call is no abstention, one of ``NOT_ABSTAINED``; None where it is one.

    A thought that never ends, a mark of a native form, or an offered function that is called among other text. A
    refusal may name functions, ``f()`` included, and show how one would be called.
    """
    text = answer_text(response)
    if not text and thinks(response):
        return UNFINISHED
    if _MARK.search(text) or form_of(text) is not None:
        return BROKEN
    with contextlib.suppress(UnreadableError):
        if read_python(bracketed(response), official=True):
            return IN_TEXT
    if len(text) > MAX_CHARS:
        return IN_TEXT if any(f"{name}(" in text for name in names) else None
    if not names:
        return None
    text = text.replace("\\_", "_")  # Markdown's escape
    named = _named_call(tuple(sorted(names))).search(text)
    if named:
        return BROKEN
    called = _call_of(tuple(sorted(names))).search(text)
    if called is None or _REFUSAL.search(text[: called.start()]):
        return None
    return IN_TEXT


_MARK = linear.bounded(
    r"</?(?:tool_calls?|function_calls?|invoke|arg_key|arg_value)\b|<(?:function|parameter)=|</(?:function|parameter)>"
    r"|<\|/?(?:tool_calls?_|tool_call\||python_tag\||plugin\||action_)|<(?:start|end)_function_call>|<tool_call\||<\|END_ACTION|\[(?:TOOL_CALLS|ARGS)\]"
    r"|[<\uff5c/]\uff5c?(?:tool\u2581|DSML\uff5c)"
)
"""What only a call has, also alone: a call may lack its beginning or its end."""
_REFUSAL = linear.bounded(
    r"\b(?:cannot|can't|can not|can\u2019t|unable|not able|don't have|do not have|doesn't|does not|none of|no function"
    r"|not possible|missing|lack|insufficient|please (?:provide|give|specify|share)|need (?:more|the|to know)|could you"
    r"|would need|sorry)\b",
    re.IGNORECASE,
)


@lru_cache(maxsize=64)
def _call_of(names: tuple[str, ...]) -> linear.LinearPattern:
    """``f(x=`` of one of these functions, ``f("``, ``f(1``, ``f({``, and ``f()`` at the end of the text."""
    one = "|".join(map(re.escape, names))
    given = r"""(?:\s*\(\s*\w+\s*=|\(\s*(?:["'\[{]|-?\d|\)\W*\Z))"""
    return linear.compile(rf"(?:\A|[^\w.])(?:functions\.)?(?:{one}){given}")


@lru_cache(maxsize=64)
def _named_call(names: tuple[str, ...]) -> linear.LinearPattern:
    """``"name": "f"`` or ``"f": {`` of one of these functions, in JSON that cannot be read."""
    one = "|".join(map(re.escape, names))
    keys = "name|function|tool|api_name|function_name|tool_name|action"
    return linear.compile(rf"""["'](?:(?:{keys})["']\s*:\s*["'](?:{one})["']|(?:{one})["']\s*:\s*\{{)""")


def check_call_gold(gold: object, functions: object, category: str) -> None:
    """Raise UserError where an item cannot be graded: call it on every item before a run starts.

    A gold is a list of ``{name: {argument: [allowed, ...]}}``; irrelevance and relevance have none.
    """
    language_of(category)
    if not isinstance(functions, list) or not all(
        isinstance(function, dict) and isinstance(function.get("name"), str) for function in functions
    ):
        raise UserError(f"functions: {short_repr(functions)} is no list of descriptions with a name")
    if "relevance" in category:
        return
    if not isinstance(gold, list):
        raise UserError(f"gold calls: {short_repr(gold)} is {type(gold).__name__}; give a list of calls")
    for call in gold:
        arguments = next(iter(call.values())) if isinstance(call, dict) and len(call) == 1 else None
        if not isinstance(arguments, dict) or not all(isinstance(one, list) for one in arguments.values()):
            raise UserError(f"gold call: {short_repr(call)} is not {{name: {{argument: [allowed, ...]}}}}")
