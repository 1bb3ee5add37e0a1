"""A user's YAML: recipes, suites, the gate's settings. Bounded, and a mistake is one line with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from yaml.reader import ReaderError

from dipo_eval.errors import UserError, short_repr

MAX_BYTES = 1_000_000
MAX_DEPTH = 40
MAX_VALUES = 20_000  # keys and values; those of an alias count each time it is used

_BOOLEAN, _MERGE = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:merge"
_TEXT = "tag:yaml.org,2002:str"
_KNOWN = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "int", "float", "seq", "map", "timestamp")}
_KNOWN |= {_BOOLEAN, _MERGE, _TEXT}
_BROKEN = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class _RefusedError(yaml.MarkedYAMLError):
    """YAML that is valid and not accepted here."""

    def __init__(self, problem: str, node_or_event: Any) -> None:
        super().__init__(problem=problem, problem_mark=node_or_event.start_mark)


class _Loader(yaml.SafeLoader):
    """Plain data alone, with limits; every error has its place."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.values = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        self.values += 1
        if self.depth > MAX_DEPTH:
            raise _RefusedError(f"is nested deeper than {MAX_DEPTH} levels; flatten it", self.peek_event())
        if self.values > MAX_VALUES:
            raise _RefusedError(f"has more than {MAX_VALUES:,} values; make it smaller", self.peek_event())
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except _BROKEN as error:
            shown = short_repr(node.value, 60) if isinstance(node, yaml.ScalarNode) else "this"
            problem = f"{shown} cannot be read ({type(error).__name__}); put text in quotes"
            raise _RefusedError(problem, node) from None


class _TrueFalseLoader(_Loader):
    """YAML 1.2's booleans, true and false alone: `off`, which PyYAML reads as false, stays a string."""


_TrueFalseLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOLEAN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_TrueFalseLoader.add_implicit_resolver(
    _BOOLEAN, re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF")
)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file as plain data, None where it is empty. Raises UserError with the line."""
    return _value(_text(path, str(path)), str(path), _Loader)


def parse_value(text: str, shown: str) -> Any:
    """A value given as a string, such as an option's; its only booleans are true and false. Raises UserError."""
    return _value(text, shown, _TrueFalseLoader)


def compose_yaml(path: Path, shown: str) -> yaml.Node | None:
    """The checked tree of a YAML file whose only booleans are true and false, with the places of its values.

    ``shown`` is the file's name in messages. Raises UserError with the line. ``value_of`` makes data of a node.
    """
    text = _text(path, shown)
    with _one_line(shown, text):
        return _root(_TrueFalseLoader(text))


def value_of(node: yaml.Node, shown: str) -> Any:
    """The data of a node of ``compose_yaml``. Raises UserError with the line."""
    with _one_line(shown):
        return _TrueFalseLoader("").construct_object(node, deep=True)


def merged(node: yaml.MappingNode, shown: str) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    """Keys and values of a mapping of ``compose_yaml``, those of its merge key ``<<`` in their place; its own win.

    Raises UserError with the line where what is merged is no mapping.
    """
    with _one_line(shown):
        _TrueFalseLoader("").flatten_mapping(node)
    return list({key.value: (key, value) for key, value in node.value}.values())


def line_of(node: yaml.Node, key: Sequence[Any]) -> int:
    """The line of a key, given by the names and positions that lead to it; else of the last of them that exists."""
    line = node.start_mark.line + 1
    for part in key:
        if isinstance(node, yaml.MappingNode):
            found = [pair for pair in node.value if pair[0].value == part]
            if not found:
                break
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def _value(text: str, shown: str, kind: type[_Loader]) -> Any:
    with _one_line(shown, text):
        loader = kind(text)
        root = _root(loader)
        return None if root is None else loader.construct_document(root)


def _text(path: Path, shown: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{shown}: cannot be read ({error.strerror or error})") from None
    if len(content) > MAX_BYTES:
        raise UserError(f"{shown}: is larger than {MAX_BYTES:,} bytes; is it the right file?")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{shown}:{line}: is not UTF-8 (byte {error.start}); save it as UTF-8") from None


@contextmanager
def _one_line(shown: str, text: str = "") -> Iterator[None]:
    try:
        yield
    except ReaderError as error:
        code = error.character if isinstance(error.character, int) else ord(error.character)
        line = text.count("\n", 0, error.position) + 1
        raise UserError(f"{shown}:{line}: not valid YAML: the character U+{code:04X}; remove it") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{shown}:{mark.line + 1}" if mark else shown
        problem = " ".join(str(getattr(error, "problem", None) or "unreadable").split())
        kind = "" if isinstance(error, _RefusedError) else "not valid YAML: "
        raise UserError(f"{where}: {kind}{problem:.300}") from None


def _root(loader: _Loader) -> yaml.Node | None:
    root: yaml.Node | None = loader.get_single_node()
    if root is not None:
        _check(root, (), [0])
    return root


def _check(node: yaml.Node, above: tuple[int, ...], count: list[int]) -> None:
    """Raise for a node that contains itself, aliases of too many values, a tag of no plain data, or a bad key."""
    count[0] += 1
    if id(node) in above:
        raise _RefusedError("an alias stands for what it is in; write the values out", node)
    if len(above) >= MAX_DEPTH or count[0] > MAX_VALUES:
        problem = f"its aliases stand for more than {MAX_VALUES:,} values or {MAX_DEPTH} levels; write fewer"
        raise _RefusedError(problem, node)
    if node.tag not in _KNOWN:
        problem = f"the tag {node.tag.replace('tag:yaml.org,2002:', '!!')} is not for plain data; remove it"
        raise _RefusedError(problem, node)
    inside = (*above, id(node))
    if isinstance(node, yaml.SequenceNode):
        for one in node.value:
            _check(one, inside, count)
    elif isinstance(node, yaml.MappingNode):
        _check_keys(node)
        for key, value in node.value:
            _check(key, inside, count)
            _check(value, inside, count)


def _check_keys(node: yaml.MappingNode) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if key.tag == _MERGE:
            continue
        if key.tag != _TEXT or not isinstance(key, yaml.ScalarNode):
            problem = "a key must be a plain word; put it in quotes"
            raise _RefusedError(problem, key)
        if key.value in lines:
            problem = f"{key.value:.80} is set twice (first on line {lines[key.value]}); remove one"
            raise _RefusedError(problem, key)
        lines[key.value] = key.start_mark.line + 1
