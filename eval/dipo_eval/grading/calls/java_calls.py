"""Read a call that a model wrote in Java or JavaScript: with tree-sitter's grammars, never run.

The arguments stay source text, as in BFCL; ``official_literals`` and ``strict_literals`` turn them into values.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.grading.calls.bfcl import Language
from dipo_eval.grading.calls.response_text import Call, Code
from dipo_eval.grading.calls.unread import UnreadableError

MAX_CHARS = 1_500
"""The longest gold has 330. The grammars' error recovery takes quadratic time and memory, bounded by nothing else:
"x=>" repeated takes 0.1 GB at this length, 0.4 GB at 3,000, 15 GB at 20,000."""
LIMIT_MICROS = 500_000
"""The parser checks it only now and then: it may take three times as long."""
MAX_DEPTH = 200
_STRINGS = ("string_literal", "character_literal", "string")


class SlowError(UnreadableError):
    """The parser reached its time limit."""


class Quoted(str):
    """An argument that the model wrote as a string literal, without its quotes."""

    __slots__ = ()


def read_java(text: str, language: Language, *, official: bool) -> list[Call]:
    """The calls in ``text``, in Java or JavaScript; only the first one with ``official``.

    ``official``: as bfcl-eval's readers, which use byte offsets on characters and drop bodies of anonymous classes
    and unnamed literals. Otherwise arguments are ``Quoted`` or ``Code``. Raises UnreadableError, SlowError, and
    UserError where the grammar is not installed.
    """
    if len(text) > MAX_CHARS:
        raise UnreadableError("longer than any call")
    if not official and not text.rstrip().endswith(";"):
        text += ";"  # without it the grammar of Java refuses some short calls, such as f(x=5)
    try:
        source = text.encode()
        root = _parser(language).parse(source).root_node
    except UnicodeError as error:
        raise UnreadableError("not Unicode") from error
    except ValueError as error:
        raise SlowError("time limit") from error
    if root.has_error and next(_outermost(root, "ERROR"), None):  # a missing semicolon is no ERROR
        raise UnreadableError("syntax error")
    is_java = language is Language.JAVA

    def raw(node: Any) -> str:
        if official and is_java:
            return text[node.start_byte : node.end_byte]
        return source[node.start_byte : node.end_byte].decode()

    def read(value: Any) -> str:
        written = raw(value)
        if not official:
            return Quoted(written[1:-1]) if value.type in _STRINGS else Code(written)
        if is_java:
            return _official_java(value, raw, 0)
        return written[1:-1] if written[0] in "\"'" and written[-1] == written[0] else written

    calls: list[Call] = []
    for node in _outermost(root, "method_invocation") if is_java else _javascript_nodes(root):
        owner = node.child_by_field_name("object") if is_java else None
        name = raw(node.child_by_field_name("name") if is_java else node.children[0])
        listed = node.child_by_field_name("arguments") if is_java else node.children[1]
        arguments: dict[Any, Any] = {}
        for child in listed.children:
            if child.type == "assignment_expression":
                key, value = raw(child.children[0]), read(child.children[2])
            elif official and child.type in ("identifier", "class_literal" if is_java else "true"):
                key, value = None, raw(child)
            elif not official and child.is_named:
                raise UnreadableError("positional argument")
            else:
                continue
            if key in arguments:
                raise UnreadableError("repeated argument")
            arguments[key] = value
        calls.append({f"{raw(owner)}.{name}" if owner else name: arguments})
        if official:
            break
    return calls


@lru_cache(maxsize=2)
def _grammar(name: str) -> Any:
    try:
        tree_sitter = importlib.import_module("tree_sitter")
        grammar = importlib.import_module(f"tree_sitter_{name}")
    except ImportError as error:
        raise UserError(
            f"grading {name} calls needs tree-sitter and its grammar ({error}); run `make setup`"
        ) from error
    return tree_sitter.Language(grammar.language(), name)


def _parser(language: Language) -> Any:
    grammar = _grammar(language.value)
    parser = importlib.import_module("tree_sitter").Parser()  # a new one each time: it is not thread-safe
    parser.set_language(grammar)
    parser.set_timeout_micros(LIMIT_MICROS)
    return parser


def _outermost(root: Any, kind: str) -> Iterator[Any]:
    """The outermost nodes of a type, in the order of the text."""
    stack = [root]
    while stack:
        node = stack.pop()
        if node.type == kind:
            yield node
        else:
            stack.extend(reversed(node.children))


def _javascript_nodes(root: Any) -> Iterator[Any]:
    """The calls that are statements."""
    for statement in root.children:
        if statement.type == "expression_statement":
            yield from (child for child in statement.children if child.type == "call_expression")


def _official_java(node: Any, raw: Any, depth: int) -> str:
    """The text that bfcl-eval makes of a Java argument: without white space, without anonymous bodies."""
    if depth > MAX_DEPTH:
        raise UnreadableError("nested too deeply")
    kind = node.type
    if kind in ("string_literal", "character_literal"):
        return str(raw(node) if depth else raw(node)[1:-1])
    if kind in ("identifier", "class_literal", "type_identifier", "method_invocation"):
        return str(raw(node))
    if kind == "array_creation_expression":
        made, value = node.child_by_field_name("type"), node.child_by_field_name("value")
        if value is None:
            raise UnreadableError("an array without values")
        return f"new {_official_java(made, raw, depth + 1)}[]{_official_java(value, raw, depth + 1)}"
    if kind == "object_creation_expression":
        made, listed = node.child_by_field_name("type"), node.child_by_field_name("arguments")
        children = [child for child in listed.children if child.type not in (",", "(", ")")] if listed else []
        inner = ", ".join(_official_java(child, raw, depth + 1) for child in children)
        return f"new {_official_java(made, raw, depth + 1)}({inner})"
    if node.child_count:
        return "".join(_official_java(child, raw, depth + 1) for child in node.children)
    return str(raw(node))
