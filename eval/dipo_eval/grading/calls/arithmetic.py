"""Arithmetic on literals inside a call's argument, such as ``5 * 60``: folded here, never evaluated as code."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

MAX_BITS = 4096
MAX_ITEMS = 1_000
"""Of one repetition, with what is inside its items: an answer holds up to 10,000 repetitions."""
MAX_DEPTH = 100
TOO_LARGE = math.nan
"""Stands for a number or text too large to write down: it equals nothing."""

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
    ast.Invert: operator.invert,
}


class NotLiteralError(Exception):
    """The expression holds a name, a call or another thing that only an interpreter could answer."""


def fold(node: ast.expr, depth: int = 0) -> Any:
    """The value of an expression made of literals, lists, tuples and arithmetic.

    Raises NotLiteralError for anything else, and what Python itself would raise for a division by zero or a
    wrong pair of types. A result beyond ``MAX_BITS`` bits or ``MAX_ITEMS`` items is ``TOO_LARGE``.
    """
    if depth > MAX_DEPTH:
        raise NotLiteralError("nested too deeply")
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.UnaryOp):
        return _UNARY[type(node.op)](fold(node.operand, depth + 1))
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return _binary(node.op, fold(node.left, depth + 1), fold(node.right, depth + 1))
    if isinstance(node, ast.List):
        return [fold(item, depth + 1) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(fold(item, depth + 1) for item in node.elts)
    raise NotLiteralError(type(node).__name__)


def _binary(kind: ast.operator, left: Any, right: Any) -> Any:
    if isinstance(kind, ast.Mod) and isinstance(left, (str, bytes)):
        raise NotLiteralError("text formatting")  # "%999999999d" % 1
    if _is_too_large(kind, left, right):
        return TOO_LARGE
    return _BINARY[type(kind)](left, right)


def _is_too_large(kind: ast.operator, left: Any, right: Any) -> bool:
    whole = [abs(int(side)) for side in (left, right) if isinstance(side, int)]
    if isinstance(kind, ast.Pow) and len(whole) == 2:
        return whole[0].bit_length() * whole[1] > MAX_BITS
    if isinstance(kind, ast.LShift) and len(whole) == 2:
        return whole[0].bit_length() + whole[1] > MAX_BITS
    if isinstance(kind, ast.Mult):
        sizes = [_size(side) for side in (left, right) if isinstance(side, (str, bytes, list, tuple))]
        if sizes and whole:
            return sizes[0] * whole[0] > MAX_ITEMS
    return any(number.bit_length() > MAX_BITS for number in whole)


def _size(value: Any) -> int:
    """Items of a text or a list, with those of the lists inside it; counted no further than ``MAX_ITEMS``.

    With those inside it, since repetitions of repetitions share their items: small in memory, and an eternity to
    hash as the key of a dict.
    """
    if isinstance(value, (str, bytes)):
        return len(value)
    total = 0
    for item in value:
        total += max(1, _size(item)) if isinstance(item, (list, tuple)) else 1
        if total > MAX_ITEMS:
            break
    return total
