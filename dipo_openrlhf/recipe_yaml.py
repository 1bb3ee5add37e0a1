"""Read a recipe as dotted keys that remember where each value was written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dipo_eval.errors import UserError


class _Loader(yaml.SafeLoader):
    """YAML 1.2's booleans: true and false alone. PyYAML's `off` is false, but here `off` is a value of its own."""


_BOOLEAN = "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOLEAN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOLEAN, re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF"))


@dataclass(frozen=True)
class Setting:
    """One value of a recipe and the place a user has to look at to change it."""

    value: Any
    where: str


def read_settings(path: Path, shown: str | None = None) -> dict[str, Setting]:
    """Dotted key -> setting. Nested mappings and dotted keys may be mixed.

    Raises UserError naming file and line: unreadable file, bad YAML, a key written twice.
    """
    name = shown or str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"recipe {name} cannot be read: {error.strerror or error}") from None
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{name}{line}: not valid YAML: {getattr(error, 'problem', error)}") from None
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise UserError(f"{name}:1: a recipe is a mapping of sections, such as `actor:`")
    settings: dict[str, Setting] = {}
    for key, node in _leaves(root, "", name):
        where = f"{name}:{node.start_mark.line + 1}"
        if key in settings:
            raise UserError(f"{where}: {key} is set twice (first at {settings[key].where})")
        loader = _Loader("")
        settings[key] = Setting(loader.construct_object(node, deep=True), where)
    return settings


def _leaves(node: yaml.MappingNode, prefix: str, name: str) -> Iterator[tuple[str, yaml.Node]]:
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise UserError(f"{name}:{key_node.start_mark.line + 1}: a key must be a plain word")
        key = f"{prefix}{key_node.value}"
        if isinstance(value_node, yaml.MappingNode):
            yield from _leaves(value_node, f"{key}.", name)
        else:
            yield key, value_node


def parse_overrides(tokens: list[str]) -> dict[str, Setting]:
    """`--section.key value ...` and `--section.key=value`; several values make a list, none means true."""
    settings: dict[str, Setting] = {}
    key = ""
    values: list[str] = []

    def close() -> None:
        if key:
            parsed = [yaml.load(value, _Loader) if value else "" for value in values]
            value = True if not parsed else parsed[0] if len(parsed) == 1 else parsed
            settings[key] = Setting(value, f"--{key}")

    for token in tokens:
        if token.startswith("--"):
            close()
            key, separator, inline = token[2:].partition("=")
            values = [inline] if separator else []
        elif not key:
            raise UserError(f"unexpected argument {token!r}: overrides look like --section.key value")
        else:
            values.append(token)
    close()
    return settings
