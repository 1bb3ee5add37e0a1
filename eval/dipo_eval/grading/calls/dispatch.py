"""Carry out calls given as text on a table of methods: the one place where a model's calls reach anything.

Calls are parsed with ast and dispatched to methods by name; arguments are literals, arithmetic on them and other calls.
Nothing else is evaluated, and no attribute is looked up: a name that is not in the table does not exist.
"""

from __future__ import annotations

import ast
import contextlib
import decimal
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mpmath import mp

from dipo_eval.grading.calls.python_calls import NotLiteralError, fold, parse_expression
from dipo_eval.grading.calls.response_text import MAX_CHARS, MAX_DEPTH

Method = Callable[..., Any]

ERROR = "Error during execution: "
"""What the result of a call that failed begins with, as in bfcl-eval."""


class Dispatcher:
    """Carries out calls on ``methods``, by the name under which a call finds them."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self.methods = dict(methods)

    def run(self, calls: Sequence[str]) -> list[str]:
        """The results of the calls as text, in order; an error is its message after ``ERROR``."""
        results = []
        for call in calls:
            try:
                results.append(_as_text(self.call(call)))
            except Exception as error:
                results.append(f"{ERROR}{error}")
        return results

    def call(self, text: str) -> Any:
        """The value of one call. Raises what its method raises, and an error for text that calls no method."""
        return self.value(parsed(text))

    def value(self, node: ast.expr, depth: int = 0) -> Any:
        """The value of an expression. Raises NotLiteralError for what is neither data nor a call."""
        if depth > MAX_DEPTH:
            raise NotLiteralError("nested too deeply")
        if isinstance(node, ast.Call):
            method = self.method(node.func)
            if any(keyword.arg is None for keyword in node.keywords):
                raise NotLiteralError("unpacked arguments")
            given = [self.value(argument, depth + 1) for argument in node.args]
            named = {str(keyword.arg): self.value(keyword.value, depth + 1) for keyword in node.keywords}
            return method(*given, **named)
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            items = [self.value(item, depth + 1) for item in node.elts]
            kind = {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)]
            return kind(items)
        if isinstance(node, ast.Dict) and None not in node.keys:
            keys = [self.value(key, depth + 1) for key in node.keys if key is not None]
            return dict(zip(keys, [self.value(value, depth + 1) for value in node.values], strict=True))
        if isinstance(node, ast.Name):
            raise NameError(f"name '{node.id}' is not defined")
        return fold(node)

    def method(self, function: ast.expr) -> Method:
        """The method that a call names. Raises NameError, NotLiteralError."""
        if isinstance(function, ast.Name):
            if function.id in self.methods:
                return self.methods[function.id]
            raise NameError(f"name '{function.id}' is not defined")
        raise NotLiteralError("not a function's name")


def parsed(text: str) -> ast.expr:
    """The expression in the text of a call. Raises ValueError, SyntaxError."""
    if len(text) > MAX_CHARS:
        raise ValueError("longer than any call")
    expression = parse_expression(text.lstrip(" \t"))
    for node in ast.walk(expression):
        names = [keyword.arg for keyword in node.keywords] if isinstance(node, ast.Call) else []
        if len(names) != len(set(names)):
            raise SyntaxError("keyword argument repeated")
    return expression


def _as_text(result: Any) -> str:
    if isinstance(result, str):
        return result
    if isinstance(result, dict):
        with contextlib.suppress(TypeError, ValueError, RecursionError):
            return json.dumps(result)
    return str(result)


@contextlib.contextmanager
def own_precision() -> Iterator[None]:
    """Keeps what methods set for the process, mpmath's and decimal's precision (MathAPI sets both), inside the block."""
    with mp.workprec(mp.prec), decimal.localcontext():
        yield
