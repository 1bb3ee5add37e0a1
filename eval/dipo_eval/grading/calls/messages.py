"""The worker's side of a conversation: read the calls in its messages, as text to carry out and as data to show."""

from __future__ import annotations

import ast
import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dipo_eval.grading.calls import bfcl
from dipo_eval.grading.calls.chosen_form import ANY, check_form
from dipo_eval.grading.calls.native_forms import form_of, typed
from dipo_eval.grading.calls.python_calls import parse_expression, read_python
from dipo_eval.grading.calls.replay import carry_out, replay
from dipo_eval.grading.calls.response_text import (
    MAX_CHARS,
    Call,
    Code,
    answer_text,
    bracketed,
    looks_like_json,
    read_json,
)
from dipo_eval.grading.calls.unread import UnreadableError

MAX_SHOWN_DEPTH = 50
MAX_RESULTS = 1_000_000
"""Characters of one step's results; no context holds as many."""


def answer_task(task: dict[str, Any]) -> dict[str, Any]:
    """The worker's side of ``multi_turn.grade_turns``."""
    as_official = task["official"] and not task["native"]
    functions = bfcl.functions(task["case"])

    def steps(turn: list[str | list[str]]) -> Iterator[list[str]]:
        for one in turn:
            calls = (
                step_calls(one, official=as_official, functions=functions) if isinstance(one, str) else one
            )
            if calls or not isinstance(one, str):
                yield calls

    turns = [list(steps(turn)) for turn in task["turns"]]
    reason = replay(task["case"], task["gold"], turns, official=task["official"])
    shown = [[call[:100] for step in turn for call in step][:3] for turn in turns]
    return {"replayed": reason, "calls": shown}


def answer_step(task: dict[str, Any]) -> dict[str, Any]:
    """The worker's side of ``multi_turn.take_step``."""
    started = time.monotonic()
    functions = bfcl.functions(task["case"])
    calls = step_calls(task["text"], official=False, functions=functions)
    results = carry_out(task["case"], task["done"], calls) if calls else []
    if sum(map(len, results)) > MAX_RESULTS:
        return {"reason": "results longer than any context"}
    native = native_calls(task["text"], functions) if calls else None
    return {
        "calls": calls,
        "results": results,
        "native": native if native and len(native) == len(calls) else None,
        "seconds": time.monotonic() - started,
    }


def step_calls(
    text: str, *, official: bool, chosen: str = ANY, functions: Sequence[dict[str, Any]] = ()
) -> list[str]:
    """The calls in one message; [] where it has none (the model talks to the user).

    ``chosen``: a name of ``CALL_FORMS``, in whose form alone calls are read. ``functions``: descriptions of those on
    offer, which say the types of values that a form writes as plain text.
    ``official``: read and written again as in bfcl_eval/model_handler/utils.py, default_decode_execute_prompting,
    where a bare name becomes a string, an empty dict spoils the message, and a dict of dicts is taken for a call.
    """
    try:
        if official:
            calls = read_python(bracketed(text), official=True)
            return [_written(*one, _official_value) for call in calls for one in call.items()]
        answer = answer_text(text)
        check_form(answer, chosen)
        native = _native(answer, functions)
        if native is not None:
            return [_native_call(*one) for call in native for one in call.items()]
        return _python_calls(answer)
    except (UnreadableError, IndexError, AttributeError, ValueError, RecursionError, MemoryError):
        return []  # ValueError: a number of more digits than Python writes


def native_calls(text: str, functions: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]] | None:
    """The calls in one message as data for a chat template, ``{"name": ..., "arguments": {...}}``.

    None where it has no calls, or where their arguments are not JSON in UTF-8 of at most ``MAX_SHOWN_DEPTH`` levels.
    """
    try:
        answer = answer_text(text)
        native = _native(answer, functions)
        calls = read_python(bracketed(answer), official=False) if native is None else native
        return _shown(calls) or None
    except _NOT_SHOWN:
        return None


def shown_call(call: str) -> dict[str, Any]:
    """A call of ``step_calls`` as ``native_calls`` gives it; without its arguments where they cannot be shown."""
    try:
        return _shown(read_python(f"[{call}]", official=False))[0]
    except (*_NOT_SHOWN, IndexError):
        return {"name": call.partition("(")[0].strip(), "arguments": {}}


_NOT_SHOWN = (UnreadableError, TypeError, ValueError, RecursionError, MemoryError)


def _shown(calls: Sequence[Call]) -> list[dict[str, Any]]:
    made = [{"name": name, "arguments": given} for call in calls for name, given in call.items()]
    if not _is_shallow(made, MAX_SHOWN_DEPTH):
        raise ValueError("nested too deeply")
    return list(json.loads(json.dumps(made, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")))


def _native(answer: str, functions: Sequence[dict[str, Any]] = ()) -> list[Call] | None:
    """The calls of an answer in a native form or JSON, None for another."""
    form = form_of(answer)
    if form is not None:
        return typed(form.calls_in(answer), list(functions))
    return read_json(answer) if looks_like_json(answer) else None


def _is_shallow(value: Any, depth: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return depth > 0 and all(_is_shallow(one, depth - 1) for one in inner)


def _python_calls(answer: str) -> list[str]:
    if len(answer) > MAX_CHARS:
        return []
    try:
        body = parse_expression(bracketed(answer))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return []
    nodes = body.elts if isinstance(body, ast.List) else []
    return [ast.unparse(node) for node in nodes] if all(isinstance(node, ast.Call) for node in nodes) else []


def _native_call(name: str, arguments: dict[str, Any]) -> str:
    """One call as text that can only be this call: a name that is none cannot bring in another one."""
    function = name if all(map(str.isidentifier, name.split("."))) else repr(name)
    if all(map(str.isidentifier, arguments)):
        return _written(function, arguments, _source)
    return f"{function}(**{arguments!r})"  # which is refused


def _source(value: Any) -> str:
    return str(value) if isinstance(value, Code) else repr(value)


def _written(name: str, arguments: dict[str, Any], write: Callable[[Any], str]) -> str:
    return f"{name}({', '.join(f'{key}={write(value)}' for key, value in arguments.items())})"


def _official_value(value: Any) -> str:
    if not isinstance(value, dict):
        return repr(value)
    if all(isinstance(inner, dict) for inner in value.values()):
        name = list(value)[0]  # noqa: RUF015  (an IndexError for {}, as in the original)
        return _written(name, value[name], _official_value)
    return "{" + ", ".join(f"'{key}': {_official_value(inner)}" for key, inner in value.items()) + "}"
