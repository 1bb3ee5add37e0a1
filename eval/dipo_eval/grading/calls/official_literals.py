"""How bfcl-eval's checker reads the source text of a Java or JavaScript argument, for ``compatible``.

As its package type_convertor, defects included: lists are split at every comma, also inside strings, and text that
does not fit the declared type stays text. Text longer than ``MAX_CHARS`` is not read as a collection: the original
takes exponential time on some.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any

from dipo_eval import linear

MAX_CHARS = 1_000

JAVA_TYPES: dict[str, type] = {
    "byte": int, "short": int, "integer": int, "long": int, "float": float, "double": float, "boolean": bool,
    "char": str, "String": str, "any": str, "Array": list, "ArrayList": list, "Queue": list, "Stack": list,
    "Set": set, "HashMap": dict, "Hashtable": dict,
}  # fmt: skip
JAVASCRIPT_TYPES: dict[str, type] = {
    "String": str, "integer": int, "float": float, "Bigint": int,
    "Boolean": bool, "dict": dict, "array": list, "any": str,
}  # fmt: skip

_REAL = r"-?\d+(\.\d+)?([eE][+-]?\d+)?"
_INTEGER = linear.compile(r"-?\d+\n?\Z")
_LONG = linear.compile(r"-?\d+[lL]\n?\Z")
_FLOAT = linear.compile(_REAL + r"[fF]\n?\Z")
_DOUBLE = linear.compile(_REAL + r"\n?\Z")
_JS_FLOAT = linear.compile(r"-?\d+(\.\d+)?\n?\Z")
_BIGINT = linear.compile(r"-?\d+n\n?\Z")
_AS_LIST = linear.compile(r"new\s+ArrayList<\w*>\(Arrays\.asList\((.+?)\)\)")
_NEW_LIST = linear.compile(r"new\s+ArrayList<\w*>\(\)")
_LIST_BODY = linear.compile(r"new\s+ArrayList<\w*>\(\)\s*\{\{(.+?)\}\}", re.DOTALL)
_ADD = linear.compile(r"add\((.+?)\)")
_ARRAY = linear.compile(r"new\s+\w+\[\]\s*\{(.*?)\}")
_MAP_HEAD = linear.compile(r"new\s+HashMap<.*?>\s*\(\)\s*\{", re.DOTALL)
_MAP_EMPTY = linear.compile(r"new\s+HashMap<.*?>\s*\(\)")
_PUT = linear.compile(r"put\(\"(.*?)\",\s*(.*?)\)")
_JS_ROW = linear.compile(r"\[(.*?)\]")
_JS_NEW_ARRAY = linear.compile(r"new\s+Array\((.*?)\)")
_JS_ROWS_HEAD = linear.compile(r"(?:new\s+Array\(|\[)\s*\[")
_JS_OBJECT = linear.compile(r"\{(.*?)\}")


def _where(pattern: linear.LinearPattern, read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Read text that matches; other text stays text."""
    return lambda text: read(text) if pattern.match(text) else text


def _boolean(text: str) -> Any:
    return {"true": True, "false": False}.get(text, text)


_JAVA_SIMPLE: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("byte", "short", "integer"), _where(_INTEGER, int)),
    "long": _where(_LONG, lambda text: int(text.rstrip("\n")[:-1])),
    "float": _where(_FLOAT, lambda text: float(text.rstrip("\n")[:-1])),
    "double": _where(_DOUBLE, float), "boolean": _boolean, **dict.fromkeys(("char", "String", "any"), str),
}  # fmt: skip
_JS_SIMPLE: dict[str, Callable[[str], Any]] = {
    "integer": _where(_INTEGER, int), "float": _where(_JS_FLOAT, float), "Boolean": _boolean, "any": str,
    "Bigint": _where(_BIGINT, lambda text: int(text[:-1])),  # ValueError for "7n\n"
}  # fmt: skip


def convert_java(text: str, declared: str, nested: str | None = None) -> Any:
    """The value of a Java argument of a declared type.

    Raises ValueError for a number that Python refuses, NotImplementedError for types that bfcl-eval does not convert.
    """
    if declared in _JAVA_SIMPLE:
        return _JAVA_SIMPLE[declared](text)
    if declared not in ("Array", "ArrayList", "HashMap"):
        raise NotImplementedError(declared)
    if len(text) > MAX_CHARS:
        return text
    if declared == "Array":
        return _java_array(text, nested)
    return _java_list(text, nested) if declared == "ArrayList" else _java_map(text)


def _java_array(text: str, nested: str | None) -> Any:
    found = _ARRAY.search(text)
    if not found:
        return text
    items = [item.strip() for item in found[1].split(",") if item.strip()]
    return [convert_java(item, nested) if nested else java_value(item) for item in items]


def _java_list(text: str, nested: str | None) -> Any:
    found = _AS_LIST.search(text)
    body = None if found else _LIST_BODY.search(text)
    if found:
        items = found[1].split(",")
    elif body and body[1].strip():
        items = _ADD.findall(body[1].strip())
    else:
        return [] if _NEW_LIST.search(text) else text
    return [_java_item(item.strip(), nested) for item in items]


def _java_item(item: str, nested: str | None) -> Any:
    if nested in ("char", "String"):
        return item[1:-1]
    return convert_java(item, nested) if nested else java_value(item)


def _java_map(text: str) -> Any:
    head = _MAP_HEAD.search(text)
    start = head.end() if head else 0
    rest = text[start:].lstrip()
    rest = rest[1:].lstrip() if rest.startswith("{") else rest
    if head and "}" in rest:
        return {key: java_value(value.strip()) for key, value in _PUT.findall(rest[: rest.index("}")])}
    return {} if _MAP_EMPTY.search(text) else text


def java_value(text: str) -> Any:
    """A Java literal by its looks: boolean, string, long, float, number, or else text."""
    if text.startswith('"') and text.endswith('"'):
        return text[1:-1]
    for kind in ("boolean", "long", "float"):
        value = _JAVA_SIMPLE[kind](text)
        if not isinstance(value, str):
            return value
    return _number_or_text(text)


def _number_or_text(text: str) -> Any:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def convert_javascript(text: str, declared: str, nested: str | None = None) -> Any:
    """The value of a JavaScript argument of a declared type. Raises ValueError for a number that Python refuses."""
    if declared == "String":
        return _unquoted(text)
    if declared in _JS_SIMPLE:
        return _JS_SIMPLE[declared](text)
    code = text.strip()
    if len(code) > MAX_CHARS:
        return code
    try:
        return _js_array(code, nested) if declared == "array" else _js_object(code)
    except (ValueError, ArithmeticError):
        return code


def _unquoted(text: str) -> str:
    return text[1:-1] if any(text.startswith(mark) and text.endswith(mark) for mark in "\"'") else text


def _js_array(code: str, nested: str | None) -> Any:
    rows = _rows_end(code)
    if rows is not None:
        found = [row.strip() for row in _JS_ROW.findall(code[:rows])]
        if found and found[0].startswith("["):
            found[0] = found[0][1:]
        return [[js_value(item.strip()) for item in row.split(",")] for row in found]
    flat = _JS_ROW.match(code) or _JS_NEW_ARRAY.match(code)
    if not flat:
        return code
    items = [item.strip() for item in flat[1].split(",")] if flat[1].strip() else []
    return [convert_javascript(item, nested) if nested else js_value(item) for item in items]


def _rows_end(code: str) -> int | None:
    """Where an array of arrays at the start of ``code`` ends, or None.

    The end that a backtracking expression for ``[ [..], [..] ]`` with the shortest rows finds, computed from right to
    left in quadratic time.
    """
    head = _JS_ROWS_HEAD.match(code)
    if not head:
        return None
    closer = "]" if code[0] == "[" else ")"
    after: list[int | None] = [None] * (len(code) + 1)
    for at in range(len(code) - 1, head.end() - 1, -1):
        if code[at] == closer:
            after[at] = at + 1
        elif code[at] == ",":
            opening = _skip_space(code, at + 1)
            if code[opening : opening + 1] == "[":
                after[at] = _row_then(code, opening + 1, after)
    return _row_then(code, head.end(), after)


def _row_then(code: str, start: int, after: list[int | None]) -> int | None:
    at = code.find("]", start)
    newline = code.find("\n", start)
    while at >= 0 and (newline < 0 or at < newline):
        end = after[_skip_space(code, at + 1)]
        if end is not None:
            return end
        at = code.find("]", at + 1)
    return None


def _skip_space(code: str, at: int) -> int:
    while at < len(code) and code[at].isspace():
        at += 1
    return at


def _js_object(code: str) -> Any:
    found = _JS_OBJECT.match(code)
    if code == "{}" or not found:
        return {} if code == "{}" else code
    made: dict[str, Any] = {}
    for name, text in _js_pairs(found[1]):
        value = text.strip()
        is_array = value.startswith("[") and value.endswith("]")
        made[name.strip().strip("'\"")] = _js_array(value, None) if is_array else js_value(value.strip("'\""))
    return made


def _js_pairs(text: str) -> list[tuple[str, str]]:
    """The names and values of an object, as bfcl-eval's expression finds them:
    ``([^:]+):\\s*(.*?)(?:,\\s*(?=[^,]+:)|$)``, a value ending at a comma that has a colon before the next one.
    """
    pairs: list[tuple[str, str]] = []
    at = 0
    while True:
        while text[at : at + 1] == ":":
            at += 1
        colon = text.find(":", at)
        if colon < 0:
            return pairs
        start = _skip_space(text, colon + 1)
        end, after = _js_value_end(text, start)
        pairs.append((text[at:colon], text[start:end]))
        at = after


def _js_value_end(text: str, start: int) -> tuple[int, int]:
    """Where a value ends, and where the next name begins."""
    comma = text.find(",", start)
    while comma >= 0:
        following = text.find(",", comma + 1)
        last_colon = text.rfind(":", comma + 2, following if following >= 0 else len(text))
        if last_colon >= 0:
            return comma, min(_skip_space(text, comma + 1), last_colon - 1)
        comma = following
    return len(text), len(text)


def js_value(text: str) -> Any:
    """A JavaScript literal by its looks: boolean, string, number, or else text."""
    text = text.strip()
    unquoted = _unquoted(text)
    if unquoted != text:
        return unquoted
    value = _boolean(text)
    return value if isinstance(value, bool) else _number_or_text(text)
