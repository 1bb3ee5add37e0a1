"""The form in which a model is to write calls: chosen by name, or as its own chat template writes them.

A name stands for rows of ``native_forms.FORMS`` and is, where vLLM has a parser of that form, the parser's. A call in
another form is unread then, as it would be in serving. ``ANY`` reads every form.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from dipo_eval.grading.calls.native_forms import Form, form_of, typed
from dipo_eval.grading.calls.python_calls import read_python
from dipo_eval.grading.calls.response_text import Call, bracketed, looks_like_json, read_json
from dipo_eval.grading.calls.unread import Unread, UnreadableError

AUTO, ANY = "auto", "any"
_TAGGED = Form("tool_call tags", "<tool_call>", read_json)
_JSON = Form("JSON", "{", read_json, looks_like_json)
_PYTHON = Form("Python", "", lambda text: read_python(bracketed(text), official=False))

CALL_FORMS: dict[str, tuple[str, ...]] = {
    "hermes": ("tool_call tags",),
    "llama3_json": ("JSON", "python_tag"),
    "pythonic": ("Python",),
    "qwen3_coder": ("function tags",),
    "glm45": ("argument keys",),
    "deepseek_v3": ("DeepSeek",),
    "deepseek_v32": ("DSML",),
    "mistral": ("Mistral",),
    "granite": ("Granite 3", "Granite", "Granite, unclosed"),
    "phi4_mini_json": ("functools", "Granite 3"),
    "kimi_k2": ("Kimi",),
    "openai": ("Harmony",),
    "minimax_m2": ("invoke tags",),
    "functiongemma": ("FunctionGemma",),
    "internlm": ("InternLM",),
    "jamba": ("tool_calls tags",),
}
"""What a recipe may name; of the names with a row in common, a template teaches the first."""


def form_in(text: str) -> Form:
    """The form that ``text``, an answer without thoughts, has: Python where it shows none."""
    plain = (_TAGGED, _JSON)
    return form_of(text) or next((form for form in plain if form.is_in(text)), _PYTHON)


def check_form(text: str, chosen: str) -> Form:
    """The form of ``text``. Raises UnreadableError for another than the ``chosen`` one."""
    form = form_in(text)
    if chosen != ANY and form.name not in CALL_FORMS[chosen]:
        raise UnreadableError(f"in another form than {chosen}", Unread.OTHER_FORM)
    return form


_PROBE = {"place": "Rome", "days": 2, "code": "7"}
_SCHEMA = {"place": {"type": "string"}, "days": {"type": "integer"}, "code": {"type": "string"}}
_FUNCTION = {
    "name": "probe_weather",
    "description": "The weather.",
    "parameters": {"type": "object", "properties": _SCHEMA, "required": list(_PROBE)},
}
PROBE_TOOLS = [{"type": "function", "function": _FUNCTION}]


def probe_call(arguments: Any) -> list[dict[str, Any]]:
    """The ``tool_calls`` of a message for ``taught_by``."""
    function = {"name": _FUNCTION["name"], "arguments": arguments}
    return [{"id": "call00000", "type": "function", "function": function}]


def taught_by(write: Callable[[list[dict[str, Any]]], str]) -> str:
    """The name of the form in which a chat template writes a call, ``ANY`` where that cannot be told.

    ``write``: the template's text of an assistant's message with these ``tool_calls``, without the header and the end of
    its turn. It may raise anything, as templates do.
    """
    for arguments in (_PROBE, json.dumps(_PROBE)):  # as templates differ in what they take
        try:
            text = write(probe_call(arguments)).strip()
            form = form_in(text)
            if typed(form.calls_in(text), [_FUNCTION]) == [{_FUNCTION["name"]: _PROBE}]:
                return next((name for name, rows in CALL_FORMS.items() if form.name in rows), ANY)
        except Exception:  # a program of the model's author
            continue
    return ANY


def read_chosen(text: str, chosen: str, read: Callable[[], Sequence[Call]]) -> list[Call]:
    """The calls of ``text`` by the chosen form's reader. Raises UnreadableError, with OTHER_FORM where ``read``, which
    reads every form, finds calls in it.
    """
    form = form_in(text)
    if form.name in CALL_FORMS[chosen]:
        return form.calls_in(text)
    if found := list(read()):
        check_form(text, chosen)
    return found
