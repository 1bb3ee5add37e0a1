"""The forms in which models write calls by themselves, one row each: what shows a form, and what reads it.

A form that is begun and broken is unreadable and no abstention. Values that a form writes as plain text are ``Untyped``
until ``typed`` gives them the type that the function's description declares.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from dipo_eval import linear
from dipo_eval.grading.calls.python_calls import read_python
from dipo_eval.grading.calls.response_text import (
    MAX_CHARS,
    Call,
    Untyped,
    bracketed,
    json_arguments,
    read_json,
)
from dipo_eval.grading.calls.unread import Unread, UnreadableError, not_json

MAX_ACTIONS = 100
Read = Callable[[str], list[Call]]

_FUNCTION = linear.compile(r"<function=([\w.\-/]+)>")
_PARAMETER = linear.compile(r"<parameter=([\w.\-]+)>")
_INVOKE = linear.compile(r'<invoke name="([^"<>]+)">')
_INVOKE_PARAMETER = linear.compile(r'<parameter name="([^"<>]+)"[^<>]*>')
_KEYS = linear.compile(r"<arg_key>([^<]*)</arg_key>\s*<arg_value>")
_NAME = linear.compile(r"\s*([\w.\-]+)\s*\Z")
_NAME_ALONE = linear.compile(r"<tool_call>\s*[\w.\-]+\s*</tool_call>")
_NAME_LINE = linear.compile(r"\s*([\w.]+)\s*\n\s*(\{)")
_ACTION = linear.compile(
    r"(?:Action|\u273fFUNCTION\u273f):\s*([\w.]+)\s*\n\s*(?:Action Input|\u273fARGS\u273f):\s*"
)
_RAVEN = linear.compile(r"(?:\A|\n)\s*Call:\s*([\w.]+\()")
_KEY = linear.bounded(r"([{,]\s{0,3})([A-Za-z_]\w{0,60})\s{0,3}:")
_TO = linear.compile(r"to=(?:functions\.)?([\w.\-]+)")
_SEPARATOR = "<\uff5ctool\u2581sep\uff5c>"


@dataclass(frozen=True, slots=True)
class Form:
    """A form: its name in a reason, the text that shows it (or ``shows``), and its reader."""

    name: str
    mark: str
    read: Read
    shows: Callable[[str], bool] | None = None

    def is_in(self, text: str) -> bool:
        return self.mark in text and (self.shows is None or self.shows(text))

    def calls_in(self, text: str) -> list[Call]:
        """The calls in ``text``. Raises UnreadableError."""
        if len(text) > MAX_CHARS:
            raise UnreadableError("longer than any call")
        return self.read(text)


def _split(text: str, opening: str, closing: str) -> list[str]:
    """The contents of blocks. Raises UnreadableError for one that never closes."""
    found = [part.partition(closing) for part in text.split(opening)[1:]]
    if not all(closed for _, closed, _ in found):
        raise UnreadableError("a block never closes", Unread.UNFINISHED_CALL)
    return [inner for inner, _, _ in found]


def _named_blocks(text: str, head: linear.LinearPattern, closing: str) -> list[tuple[str, str]]:
    """(name, content) of blocks whose opening tag has a name."""
    heads = list(head.finditer(text))
    if not heads:
        raise UnreadableError("a tag has no name", Unread.NO_NAME)
    ends = [match.start() for match in heads[1:]] + [len(text)]
    made = []
    for match, end in zip(heads, ends, strict=True):
        inner, closed, _ = text[match.end() : end].partition(closing)
        if not closed:
            raise UnreadableError("a block never closes", Unread.UNFINISHED_CALL)
        made.append((str(match[1]), inner))
    return made


def _values(text: str, head: linear.LinearPattern, closing: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    pairs = _named_blocks(text, head, closing)
    if len({name for name, _ in pairs}) != len(pairs):
        raise UnreadableError("repeated argument")
    return {name: Untyped(value.strip("\n").strip(" \t")) for name, value in pairs}


def _function_tags(text: str) -> list[Call]:
    """``<function=f>{"x": 1}</function>`` (Llama), and with ``<parameter=x>`` blocks (Qwen3-Coder)."""
    calls = []
    for name, body in _named_blocks(text, _FUNCTION, "</function>"):
        if "<parameter=" in body:
            calls.append({name: _values(body, _PARAMETER, "</parameter>")})
        else:
            calls.append({name: json_arguments(body)})
    return calls


def _invoke_tags(text: str) -> list[Call]:
    """``<invoke name="f"><parameter name="x">1</parameter></invoke>`` (Claude, MiniMax)."""
    blocks = _named_blocks(text, _INVOKE, "</invoke>")
    return [{name: _values(body, _INVOKE_PARAMETER, "</parameter>")} for name, body in blocks]


def _argument_keys(text: str) -> list[Call]:
    """``<tool_call>f <arg_key>x</arg_key> <arg_value>1</arg_value></tool_call>`` (GLM-4.5)."""
    calls = []
    for block in _split(text, "<tool_call>", "</tool_call>"):
        name = _NAME.match(block.partition("<arg_key>")[0])
        if name is None:
            raise UnreadableError("a call has no name", Unread.NO_NAME)
        keys = "".join(block.partition("<arg_key>")[1:])
        calls.append({str(name[1]): _values(keys, _KEYS, "</arg_value>")})
    return calls


def _after(mark: str, *closings: str) -> Read:
    """JSON after a mark, up to the first of some closing marks."""

    def read(text: str) -> list[Call]:
        calls: list[Call] = []
        for part in text.split(mark)[1:]:
            for closing in closings:
                part = part.partition(closing)[0]
            calls += read_json(part.strip())
        return calls

    return read


def _mistral(text: str) -> list[Call]:
    """``[TOOL_CALLS][{...}]``, and ``[TOOL_CALLS]f[ARGS]{...}`` of later models, also without the second mark."""
    calls: list[Call] = []
    for part in text.split("[TOOL_CALLS]")[1:]:
        name, marked, arguments = part.partition("[ARGS]")
        name = name.partition("[CALL_ID]")[0]
        if not marked:
            name, _, arguments = part.partition("{")
            arguments = "{" + arguments
        named = _NAME.match(name)
        calls += [{str(named[1]): json_arguments(arguments)}] if named else read_json(part.strip())
    return calls


def _deepseek(text: str) -> list[Call]:
    """DeepSeek V3 and R1: a name after a separator, then JSON, in a fence or not."""
    calls = []
    for block in _split(
        text, "<\uff5ctool\u2581call\u2581begin\uff5c>", "<\uff5ctool\u2581call\u2581end\uff5c>"
    ):
        head, _, rest = block.partition(_SEPARATOR)
        name, _, arguments = rest.partition("\n") if head.strip() == "function" else (head, "", rest)
        arguments = arguments.strip().removeprefix("```json").removesuffix("```")
        calls.append({name.strip(): json_arguments(arguments)})
    return calls


def _kimi(text: str) -> list[Call]:
    """Kimi K2: ``functions.f:0`` before the arguments."""
    calls = []
    for block in _split(text, "<|tool_call_begin|>", "<|tool_call_end|>"):
        head, _, arguments = block.partition("<|tool_call_argument_begin|>")
        name = head.strip().removeprefix("functions.").rpartition(":")[0] or head.strip()
        calls.append({name: json_arguments(arguments)})
    return calls


def _harmony(text: str) -> list[Call]:
    """gpt-oss: a message to ``functions.f`` in the commentary channel."""
    calls = []
    for part in text.split("<|channel|>")[1:]:
        header, _, body = part.partition("<|message|>")
        to = _TO.search(header)
        if to:
            calls.append({str(to[1]): json_arguments(body.partition("<|call|>")[0])})
    return calls


def _python_tag(text: str) -> list[Call]:
    """``<|python_tag|>f(x=1)`` (Llama's own tools: ``f.call(x=1)``)."""
    calls = text.partition("<|python_tag|>")[2].partition("<|eom_id|>")[0].replace(".call(", "(")
    return [call for one in _pieces(calls) for call in read_python(bracketed(one), official=False)]


def _raven(text: str) -> list[Call]:
    """``Call: f(x=1);g()<bot_end>``, and the thought that may follow (NexusRaven)."""
    calls = text[_RAVEN.search(text).start(1) :]  # type: ignore[union-attr]
    calls = calls.partition("<bot_end>")[0].partition("\nThought:")[0]
    return [call for one in _pieces(calls) for call in read_python(bracketed(one), official=False)]


def _pieces(text: str) -> list[str]:
    return [one for one in text.split(";") if one.strip()][:MAX_ACTIONS]


def _gemma(opening: str, closing: str, quote: str) -> Read:
    """``call:f{x:<escape>a<escape>,n:1}`` between marks, texts between quotes of their own (FunctionGemma, Gemma 4)."""

    def read(text: str) -> list[Call]:
        calls = []
        for block in _split(text, opening, closing):
            name, opened, arguments = block.strip().removeprefix("call:").partition("{")
            pieces = (opened + arguments).split(quote)
            pieces[0::2] = [_KEY.sub(r'\1"\2":', piece) for piece in pieces[0::2]]
            pieces[1::2] = map(json.dumps, pieces[1::2])
            calls.append({name.strip(): json_arguments("".join(pieces))})
        return calls

    return read


def _react(text: str) -> list[Call]:
    """``Action: f`` and ``Action Input: {...}`` on the next line; the same with Qwen-Agent's marks."""
    calls = []
    for match in islice(_ACTION.finditer(text), MAX_ACTIONS):
        calls.append({str(match[1]): _json_at(text, match.end())})
    return calls


def _name_and_json(text: str) -> list[Call]:
    """A name on a line of its own, then JSON (GLM-4)."""
    match = _NAME_LINE.match(text)
    if match is None:
        raise UnreadableError("no name", Unread.NO_NAME)
    arguments = _json_at(text, match.start(2))
    return [{str(match[1]): arguments}]


def _json_at(text: str, at: int) -> dict[str, Any]:
    rest = text[at : at + MAX_CHARS].strip()
    try:
        value, end = json.JSONDecoder().raw_decode(rest)
    except (ValueError, RecursionError) as error:
        raise not_json("arguments are not JSON", error) from error
    return json_arguments(rest[:end]) if isinstance(value, dict) else json_arguments(rest)


FORMS: tuple[Form, ...] = (
    Form("Harmony", "<|channel|>", _harmony, lambda text: "to=" in text),
    Form("function tags", "<function=", _function_tags),
    Form("invoke tags", "<invoke name=", _invoke_tags),
    Form("argument keys", "<tool_call>", _argument_keys,
         lambda text: "<arg_key>" in text or _NAME_ALONE.search(text) is not None),
    Form("Mistral", "[TOOL_CALLS]", _mistral),
    Form("DeepSeek", "<\uff5ctool\u2581call\u2581begin\uff5c>", _deepseek),
    Form("Kimi", "<|tool_call_begin|>", _kimi),
    Form("Granite, unclosed", "<tool_call>[", _after("<tool_call>"), lambda text: "</tool_call>" not in text),
    Form("DSML", "<\uff5cDSML\uff5cinvoke name=", lambda text: _invoke_tags(text.replace("\uff5cDSML\uff5c", ""))),
    Form("FunctionGemma", "<start_function_call>", _gemma("<start_function_call>", "<end_function_call>", "<escape>")),
    Form("Gemma 4", "<|tool_call>", _gemma("<|tool_call>", "<tool_call|>", '<|"|>')),
    Form("Command A", "<|START_ACTION|>", _after("<|START_ACTION|>", "<|END_ACTION|>")),
    Form("InternLM", "<|plugin|>", _after("<|plugin|>", "<|action_end|>")),
    Form("tools tags", "<tools>", _after("<tools>", "</tools>"), lambda text: "{" in text.partition("<tools>")[2]),
    Form("Granite", "<function_call>", _after("<function_call>", "</function_call>")),
    Form("Granite 3", "<|tool_call|>", _after("<|tool_call|>", "<|/tool_call|>")),
    Form("tool_calls tags", "<tool_calls>", _after("<tool_calls>", "</tool_calls>")),
    Form("python_tag", "<|python_tag|>", _after("<|python_tag|>", "<|eom_id|>"),
         lambda text: "{" in text.partition("(")[0]),
    Form("Python after python_tag", "<|python_tag|>", _python_tag, lambda text: "(" in text),
    Form("Raven", "Call:", _raven, lambda text: _RAVEN.search(text) is not None),
    Form("functools", "functools[", lambda text: read_json(text.partition("functools")[2].strip()),
         lambda text: text.lstrip().startswith("functools[")),
    Form("ReAct", "Action Input:", _react, lambda text: _ACTION.search(text) is not None),
    Form("Qwen-Agent", "\u273fARGS\u273f:", _react, lambda text: _ACTION.search(text) is not None),
    Form("name and JSON", "{", _name_and_json, lambda text: _NAME_LINE.match(text) is not None),
)  # fmt: skip


def form_of(text: str) -> Form | None:
    """The native form that ``text`` has, None where it has none."""
    return next((form for form in FORMS if form.is_in(text)), None)


def typed(calls: list[Any], functions: list[dict[str, Any]]) -> list[Any]:
    """``calls`` with every ``Untyped`` value as its function declares it: a text for strings, else JSON or a word."""
    schemas = {}
    for function in functions:
        parameters = function.get("parameters") or {}
        properties = parameters.get("properties") if isinstance(parameters, dict) else None
        schemas[function.get("name")] = properties if isinstance(properties, dict) else {}
    made = []
    for call in calls:
        if isinstance(call, dict) and any(
            isinstance(arguments, dict) and any(isinstance(value, Untyped) for value in arguments.values())
            for arguments in call.values()
        ):
            call = {
                name: {
                    key: _as_declared(value, schemas.get(name, {}).get(key))
                    for key, value in arguments.items()
                }
                for name, arguments in call.items()
            }
        made.append(call)
    return made


_WORDS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_TEXT_TYPES = frozenset({"string", "str", "String", "char"})


def declared_type(schema: Any) -> str:
    """The type that a JSON schema declares, also beside ``null``; empty for any, several and none."""
    found = schema.get("type", "") if isinstance(schema, Mapping) else ""
    if isinstance(found, list):
        kinds = [kind for kind in found if kind != "null"]
        found = kinds[0] if len(kinds) == 1 else ""
    return found if isinstance(found, str) else ""


def _as_declared(value: Any, schema: Any) -> Any:
    if not isinstance(value, Untyped):
        return value
    if declared_type(schema) in _TEXT_TYPES:
        return str(value)
    if value in _WORDS:
        return _WORDS[value]
    try:
        return json.loads(value)
    except (ValueError, RecursionError, MemoryError):
        return str(value)
