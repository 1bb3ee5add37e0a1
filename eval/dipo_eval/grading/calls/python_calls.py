"""Read the calls in a response as Python expressions, through ``ast``: never evaluated, arithmetic on literals folded."""

from __future__ import annotations

import ast
import contextlib
import math
import operator
import warnings
from collections.abc import Callable
from typing import Any

from dipo_eval.grading.calls.response_text import MAX_CHARS, MAX_DEPTH, Call, Code
from dipo_eval.grading.calls.unread import UnreadableError

_FILE = "<string>"  # eval's name for it, which a tool's answer repeats after a syntax error
# Set once: catch_warnings changes the whole process and cannot be used in threads.
warnings.filterwarnings("ignore", category=SyntaxWarning, module=_FILE)
MAX_BITS = 4096
MAX_ITEMS = 1_000
"""Of one repetition, nested items included: an answer has up to 10,000 repetitions."""
TOO_LARGE = math.nan
"""Stands for a number or string too large to store: it equals nothing."""

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
    ast.LShift: operator.lshift, ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor,
}  # fmt: skip
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos, ast.USub: operator.neg, ast.Not: operator.not_, ast.Invert: operator.invert,
}  # fmt: skip


class NotLiteralError(Exception):
    """The expression has a name, a call or something else that only an interpreter can evaluate."""


_PARSE_ERRORS = (SyntaxError, ValueError, MemoryError, RecursionError)
_VALUE_ERRORS = (NotLiteralError, TypeError, ValueError, ArithmeticError, RecursionError, MemoryError)


def parse_expression(text: str) -> ast.expr:
    """The expression; nothing of it is run. Raises SyntaxError, ValueError, MemoryError or RecursionError."""
    return ast.parse(text, filename=_FILE, mode="eval").body


def read_python(text: str, *, official: bool) -> list[Call]:
    """The calls in ``text``, a Python list of calls or one call. Raises UnreadableError.

    ``official``: as bfcl-eval's reader, where positional arguments are dropped, any unary operator negates, a name
    or a call is its own text, and the last of two equal keywords wins. Otherwise these are errors, or ``Code``.
    """
    if len(text) > MAX_CHARS:
        raise UnreadableError("longer than any call")
    try:
        body = parse_expression(text.strip().strip("'") if official else text)
    except _PARSE_ERRORS as error:
        raise UnreadableError("syntax error") from error
    return _calls_of(body, official)


def read_statements(text: str) -> list[Call]:
    """The calls in Python code that does nothing but call, comments and ``print`` aside. Raises UnreadableError."""
    if len(text) > MAX_CHARS:
        raise UnreadableError("longer than any call")
    try:
        statements = ast.parse(text, filename=_FILE).body
    except _PARSE_ERRORS as error:
        raise UnreadableError("syntax error") from error
    calls: list[Call] = []
    for statement in statements:
        if not isinstance(statement, ast.Expr):
            raise UnreadableError("a statement is not a call")
        calls += _calls_of(_printed(statement.value), official=False)
    return calls


def _printed(node: ast.expr) -> ast.expr:
    """What ``print(...)`` of one thing prints, else the expression itself."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
        return node.args[0] if len(node.args) == 1 and not node.keywords else node
    return node


def _calls_of(body: ast.expr, official: bool) -> list[Call]:
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


def _dotted_name(node: ast.expr) -> tuple[str, bool]:
    """``a.b.c`` of a name with attributes, and whether it begins with a name (and not with a call, for example)."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        parts.append(node.id)
    return ".".join(reversed(parts)), isinstance(node, ast.Name)


def _official_call(node: ast.Call, depth: int) -> dict[Any, Any]:
    arguments = {keyword.arg: _data(keyword.value, depth + 1, _official) for keyword in node.keywords}
    return {_dotted_name(node.func)[0]: arguments}


def _data(node: Any, depth: int, other: Callable[[Any, int], Any]) -> Any:
    """The value of a constant, a list or a tuple; ``other`` reads everything else, ``...`` included."""
    if depth > MAX_DEPTH:
        raise NotLiteralError("nested too deeply")
    if isinstance(node, ast.Constant) and node.value is not Ellipsis:
        return node.value
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [_data(item, depth + 1, other) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    return other(node, depth)


def _official(node: Any, depth: int) -> Any:
    if isinstance(node, ast.Constant):
        return "..."
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {_data(key, depth + 1, _official): _data(value, depth + 1, _official) for key, value in pairs}
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
    name, is_name = _dotted_name(node.func)
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
        arguments[keyword.arg] = _data(keyword.value, 0, _strict)
    return {name: arguments}


def _strict(node: Any, depth: int) -> Any:
    if isinstance(node, ast.Dict) and None not in node.keys:
        keys = [_data(key, depth + 1, _strict) for key in node.keys]
        return dict(zip(keys, [_data(value, depth + 1, _strict) for value in node.values], strict=True))
    if isinstance(node, (ast.UnaryOp, ast.BinOp)):
        with contextlib.suppress(NotLiteralError):
            return fold(node)
    return Code(ast.unparse(node))


def fold(node: ast.expr, depth: int = 0) -> Any:
    """The value of an expression made of literals, lists, tuples and arithmetic.

    Raises NotLiteralError for anything else, and what Python raises for a division by zero or unfit types. A result
    beyond ``MAX_BITS`` bits or ``MAX_ITEMS`` items is ``TOO_LARGE``.
    """
    return _data(node, depth, _arithmetic)


def _arithmetic(node: Any, depth: int) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.UnaryOp):
        return _UNARY[type(node.op)](fold(node.operand, depth + 1))
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return _binary(node.op, fold(node.left, depth + 1), fold(node.right, depth + 1))
    raise NotLiteralError(type(node).__name__)


def _binary(kind: ast.operator, left: Any, right: Any) -> Any:
    if isinstance(kind, ast.Mod) and isinstance(left, (str, bytes)):
        raise NotLiteralError("text formatting")  # "%999999999d" % 1
    if _is_too_large(kind, left, right):
        return TOO_LARGE
    return _BINARY[type(kind)](left, right)


def _is_too_large(kind: ast.operator, left: Any, right: Any) -> bool:
    whole = [abs(int(side)) for side in (left, right) if isinstance(side, int)]
    if isinstance(kind, (ast.Pow, ast.LShift)) and len(whole) == 2:
        bits = whole[0].bit_length()
        return (bits * whole[1] if isinstance(kind, ast.Pow) else bits + whole[1]) > MAX_BITS
    if isinstance(kind, ast.Mult):
        sizes = [_size(side) for side in (left, right) if isinstance(side, (str, bytes, list, tuple))]
        if sizes and whole:
            return sizes[0] * whole[0] > MAX_ITEMS
    return any(number.bit_length() > MAX_BITS for number in whole)


def _size(value: Any) -> int:
    """Items of a string or a list, nested ones included; counted no further than ``MAX_ITEMS``.

    Repetitions of repetitions share their items: they are small in memory, but hashing one as a dict's key never ends.
    """
    if isinstance(value, (str, bytes)):
        return len(value)
    total = 0
    for item in value:
        total += max(1, _size(item)) if isinstance(item, (list, tuple)) else 1
        if total > MAX_ITEMS:
            break
    return total
