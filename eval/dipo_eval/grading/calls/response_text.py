"""The text of a response: its answer without reasoning and code fence, and native tool calls in JSON."""

from __future__ import annotations

import json
from typing import Any

from dipo_eval import linear
from dipo_eval.grading.calls.unread import Unread, UnreadableError, not_json
from dipo_eval.grading.final_text import final_text, without_end_marks

MAX_CHARS = 100_000
"""A longer answer is no list of calls (reasoning is taken off before); the longest gold has 2,100 characters."""
MAX_DEPTH = 100

Call = dict[str, dict[str, Any]]
"""``{name: {argument: value}}``, the form that BFCL works with."""

_FENCE_START = linear.bounded(r"```[\w+-]{0,20}[ \t]{0,20}\n")
_ARGUMENTS = ("arguments", "parameters", "input", "args", "action_input", "tool_input")
_NAMES = ("name", "function", "api_name", "tool", "function_name", "tool_name")
_WRAPPERS = ("function", "function_call")
_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_JSON_ERRORS = (ValueError, RecursionError, MemoryError)


class Code(str):
    """An argument that the model wrote as code (a name, a call, a subscript) where a literal would be data."""

    __slots__ = ()


class Untyped(str):
    """An argument that a native form writes as plain text, whatever its type."""

    __slots__ = ()


def answer_text(response: str) -> str:
    """The answer in ``response`` without thoughts, code fence and white space; empty where a thought never ends."""
    text = unfenced(final_text(response).strip())
    if text.startswith("<TOOLCALL>") and text.endswith("</TOOLCALL>"):
        text = text[len("<TOOLCALL>") : -len("</TOOLCALL>")].strip()
    return text


def thinks(response: str) -> bool:
    """Whether ``response`` ends inside a thought: whatever followed would be a part of it, and no answer."""
    return not final_text(f"{without_end_marks(response)}.").strip()


def unfenced(text: str) -> str:
    """``text`` without the one code fence around it, and white space."""
    fence = _FENCE_START.match(text)
    if fence and text.endswith("```") and text.find("```", fence.end()) == len(text) - 3:
        return text[fence.end() : -3].strip()
    return text


def bracketed(text: str) -> str:
    """``text`` as a list: without back-quotes around it, with the brackets that it lacks.

    Source: bfcl_eval/model_handler/utils.py, default_decode_ast_prompting.
    """
    text = text.strip("`\n ")
    return ("" if text.startswith("[") else "[") + text + ("" if text.endswith("]") else "]")


def looks_like_json(text: str) -> bool:
    """Whether ``text`` is meant as native tool calls and not as Python."""
    return _OPEN in text or text[:40].lstrip("[ \n\t").startswith("{")


def read_json(text: str) -> list[Call]:
    """The calls in ``text``: ``<tool_call>`` blocks, a JSON list, or JSON objects one after another.

    A call is ``{"name": ..., "arguments" or "parameters": {...}}``, arguments also as JSON text, or wrapped
    as ``{"type": "function", "function": {...}}``. Text outside the blocks does not count. Raises
    UnreadableError for anything else, a repeated key, and a block that never closes.
    """
    if len(text) > MAX_CHARS:
        raise UnreadableError("longer than any call")
    try:
        objects = [found for block in tagged_blocks(text) for found in _objects(block)]
        return [as_call(found) for found in _expanded(objects)]
    except _JSON_ERRORS as error:
        raise not_json("not JSON", error) from error


def as_call(found: Any) -> Call:
    """``{name: arguments}`` of one decoded JSON object. Raises UnreadableError."""
    if isinstance(found, dict):
        found = next((found[key] for key in _WRAPPERS if isinstance(found.get(key), dict)), found)
    if not isinstance(found, dict):
        raise UnreadableError("a call is not an object")
    names = (*_NAMES, "action") if "action_input" in found else _NAMES  # LangChain's
    name = next((found[key] for key in names if isinstance(found.get(key), str)), None)
    if name is None and len(found) == 1:  # {"f": {"x": 1}}
        ((name, arguments),) = found.items()
        if isinstance(arguments, dict) and name not in _ARGUMENTS:
            return {name: arguments}
        name = None
    if name is None:
        raise UnreadableError("a call has no name", Unread.NO_NAME)
    return {name: json_arguments(next((found[key] for key in _ARGUMENTS if key in found), {}))}


def json_arguments(arguments: Any) -> dict[str, Any]:
    """The arguments of a call, decoded or as JSON text. Raises UnreadableError."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments, object_pairs_hook=_unique) if arguments.strip() else {}
        except _JSON_ERRORS as error:
            raise not_json("arguments are not JSON", error) from error
    if not isinstance(arguments, dict):
        raise UnreadableError("arguments are not an object", Unread.NO_OBJECT)
    return arguments


def _expanded(objects: list[Any]) -> list[Any]:
    """``objects`` with ``{"tool_calls": [...]}`` (xLAM) replaced by its calls."""
    made: list[Any] = []
    for found in objects:
        inner = found.get("tool_calls") if isinstance(found, dict) else None
        made.extend(inner if isinstance(inner, list) else [found])
    return made


def tagged_blocks(text: str) -> list[str]:
    """The contents of ``<tool_call>`` blocks, else ``text`` itself.

    Raises UnreadableError for one that never closes or is empty.
    """
    if _OPEN not in text:
        return [text]
    blocks = [block.partition(_CLOSE) for block in text.split(_OPEN)[1:]]
    if not all(closed for _, closed, _ in blocks):
        raise UnreadableError("a block never closes", Unread.UNFINISHED_CALL)
    if not all(content.strip() for content, _, _ in blocks):
        raise UnreadableError("an empty block", Unread.NO_NAME)
    return [content for content, _, _ in blocks]


def _objects(text: str) -> list[Any]:
    decoder = json.JSONDecoder(object_pairs_hook=_unique)
    found: list[Any] = []
    at = 0
    while True:
        while at < len(text) and text[at] in " \t\r\n,;":
            at += 1
        if at == len(text):
            return found
        value, at = decoder.raw_decode(text, at)
        found.extend(value if isinstance(value, list) else [value])


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("repeated key")
    return made
