"""Read native tool calls: JSON objects with a name and arguments, alone, in a list, or between tags."""

from __future__ import annotations

import json
from typing import Any

from dipo_eval.grading.calls.text import MAX_CHARS, Call, UnreadableError

_ARGUMENTS = ("arguments", "parameters", "input")
_NAMES = ("name", "function", "api_name", "tool")
_OPEN, _CLOSE = "<tool_call>", "</tool_call>"


def looks_like_json(text: str) -> bool:
    """Whether ``text`` is meant as native tool calls and not as Python."""
    start = text[:40].lstrip("[ \n\t")
    return _OPEN in text or start.startswith("{")


def read_json(text: str) -> list[Call]:
    """The calls in ``text``: ``<tool_call>`` blocks, a JSON list, or JSON objects one after another.

    A call is ``{"name": ..., "arguments" or "parameters": {...}}``, arguments also as JSON text, or wrapped
    as ``{"type": "function", "function": {...}}``. Text outside the blocks does not count. Raises
    UnreadableError for anything else, a key that stands twice, and a block that never closes.
    """
    if len(text) > MAX_CHARS:
        raise UnreadableError("longer than any call")
    try:
        objects = [found for block in _blocks(text) for found in _objects(block)]
        return [as_call(found) for found in objects]
    except (ValueError, RecursionError, MemoryError) as error:
        raise UnreadableError("not JSON") from error


def as_call(found: Any) -> Call:
    """``{name: arguments}`` of one decoded JSON object. Raises UnreadableError."""
    if isinstance(found, dict) and isinstance(found.get("function"), dict):
        found = found["function"]
    if not isinstance(found, dict):
        raise UnreadableError("a call is not an object")
    name = next((found[key] for key in _NAMES if isinstance(found.get(key), str)), None)
    if name is None:
        raise UnreadableError("a call has no name")
    arguments: Any = next((found[key] for key in _ARGUMENTS if key in found), {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments, object_pairs_hook=_unique) if arguments.strip() else {}
        except (ValueError, RecursionError, MemoryError) as error:
            raise UnreadableError("arguments are not JSON") from error
    if not isinstance(arguments, dict):
        raise UnreadableError("arguments are not an object")
    return {name: arguments}


def _blocks(text: str) -> list[str]:
    if _OPEN not in text:
        return [text]
    _, *blocks = text.split(_OPEN)
    inner = []
    for block in blocks:
        content, closed, _ = block.partition(_CLOSE)
        if not closed:
            raise UnreadableError("a block never closes")
        inner.append(content)
    return inner


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
        raise ValueError("a key stands twice")
    return made
