"""Read the calls in a model's text as data: Python expressions through ``ast``, never evaluated or imported.

A call is the mapping ``{name: {argument: value}}`` that BFCL works with.
"""

from __future__ import annotations

import ast
from typing import Any

from dipo_eval import linear
from dipo_eval.grading.calls.arithmetic import NotLiteralError, fold
from dipo_eval.grading.model_syntax import parse_expression

MAX_CHARS = 100_000
"""A longer answer is no list of calls (reasoning is taken off before); the longest gold has 2,100 characters."""
MAX_DEPTH = 100

Call = dict[str, dict[str, Any]]

_PARSE_ERRORS = (SyntaxError, ValueError, MemoryError, RecursionError)
_VALUE_ERRORS = (NotLiteralError, TypeError, ValueError, ArithmeticError, RecursionError, MemoryError)
_THINK_ENDS = ("</think>", "</thinking>")
_FENCE_START = linear.bounded(r"```[\w+-]{0,20}[ \t]{0,20}\n")


class UnreadableError(Exception):
    """The text holds no list of calls; the message says why in a few words."""


class Code(str):
    """An argument that the model wrote as code (a name, a call, a subscript) where a literal would be data."""

    __slots__ = ()


def answer_text(response: str) -> str:
    """What follows the reasoning of ``response``, without code fence and white space.

    Empty where the reasoning never ends, as in a truncated response.
    """
    end = max((at + len(mark) for mark in _THINK_ENDS if (at := response.rfind(mark)) >= 0), default=0)
    if end:
        response = response[end:]
    elif response.lstrip().startswith(("<think>", "<thinking>")):
        return ""
    text = response.strip()
    fence = _FENCE_START.match(text)
    if fence and text.endswith("```") and fence.end() <= len(text) - 3:
        text = text[fence.end() : -3].strip()
    if text.startswith("<TOOLCALL>") and text.endswith("</TOOLCALL>"):
        text = text[len("<TOOLCALL>") : -len("</TOOLCALL>")].strip()
    return text


def bracketed(text: str) -> str:
    """``text`` as a list: without back-quotes around it, and with the brackets that it lacks.

    As bfcl-eval's default_decode_ast_prompting prepares the answer of a model without native tool calls.
    """
    text = text.strip("`\n ")
    return ("" if text.startswith("[") else "[") + text + ("" if text.endswith("]") else "]")


def read_python(text: str, *, official: bool) -> list[Call]:
    """The calls in ``text``, a Python list of calls or one call.

    ``official``: with the quirks of bfcl-eval's reader: positional arguments are dropped, any unary operator
    negates, a name or a call is the text it is written as, the last of two equal keywords wins. Otherwise
    these are errors, or ``Code``. Raises UnreadableError.
    """
    if len(text) > MAX_CHARS:
        raise UnreadableError("longer than any call")
    try:
        body = parse_expression(text.strip().strip("'") if official else text)
    except _PARSE_ERRORS as error:
        raise UnreadableError("syntax error") from error
    if isinstance(body, ast.Call):
        nodes: list[ast.expr] = [body]
    elif isinstance(body, (ast.List, ast.Tuple, ast.Set)):
        nodes = body.elts
    else:
        raise UnreadableError("not a list of calls")
    calls = []
    for node in nodes:
        if not isinstance(node, ast.Call):
            raise UnreadableError("an element is not a call")
        try:
            calls.append(_official_call(node, 0) if official else _strict_call(node))
        except _VALUE_ERRORS as error:
            raise UnreadableError(f"argument: {type(error).__name__}") from error
    return calls


def dotted_name(node: ast.expr) -> tuple[str, bool]:
    """``a.b.c`` of a name with attributes, and whether nothing else (such as a call) stands before it."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        parts.append(node.id)
    return ".".join(reversed(parts)), isinstance(node, ast.Name)


def _official_call(node: ast.Call, depth: int) -> dict[Any, Any]:
    arguments = {keyword.arg: _official_value(keyword.value, depth + 1) for keyword in node.keywords}
    return {dotted_name(node.func)[0]: arguments}


def _official_value(node: ast.expr | None, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise NotLiteralError("nested too deeply")
    if isinstance(node, ast.Constant):
        return "..." if node.value is Ellipsis else node.value
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [_official_value(item, depth + 1) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {_official_value(key, depth + 1): _official_value(value, depth + 1) for key, value in pairs}
    if isinstance(node, ast.UnaryOp):
        if not isinstance(node.operand, ast.Constant):
            raise NotLiteralError("operand")
        return -node.operand.value  # type: ignore[operator]
    if isinstance(node, ast.BinOp):
        return fold(node)
    if isinstance(node, ast.Call):
        return _official_call(node, depth) if node.keywords else ast.unparse(node)
    if isinstance(node, ast.Subscript):
        return f"{ast.unparse(node.value)}[{ast.unparse(node.slice)}]"
    raise NotLiteralError(type(node).__name__)


def _strict_call(node: ast.Call) -> Call:
    name, is_name = dotted_name(node.func)
    if not is_name:
        raise UnreadableError("the function is not a name")
    if node.args:
        raise UnreadableError("positional argument")
    arguments: dict[str, Any] = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            raise UnreadableError("unpacked argument")
        if keyword.arg in arguments:
            raise UnreadableError("repeated argument")
        arguments[keyword.arg] = _strict_value(keyword.value, 0)
    return {name: arguments}


def _strict_value(node: ast.expr, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise NotLiteralError("nested too deeply")
    if isinstance(node, ast.Constant):
        return Code("...") if node.value is Ellipsis else node.value
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [_strict_value(item, depth + 1) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    if isinstance(node, ast.Dict) and None not in node.keys:
        keys = [_strict_value(key, depth + 1) for key in node.keys if key is not None]
        values = [_strict_value(value, depth + 1) for value in node.values]
        return dict(zip(keys, values, strict=True))
    if isinstance(node, (ast.UnaryOp, ast.BinOp)):
        try:
            return fold(node)
        except NotLiteralError:
            return Code(ast.unparse(node))
    return Code(ast.unparse(node))
