"""Read a recipe as dotted keys that remember where each value was written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dipo_eval.errors import UserError
from dipo_eval.files.yaml_file import compose_yaml, merged, parse_value, read_yaml, value_of

COUNT = "number_of_settings"  # of a run's recipe.yaml, before them
ANCHORS = "x-"  # top-level keys that begin so hold anchors, and no setting


@dataclass(frozen=True)
class Setting:
    """One value of a recipe and where it was written: file and line, or option.

    text: of an option, as given, which a key for text takes as it is: `--run.name 007`. bare: an option without a value,
    which is true.
    """

    value: Any
    where: str
    text: str | None = None
    bare: bool = False


def read_settings(path: Path, shown: str | None = None) -> dict[str, Setting]:
    """Dotted key -> setting. Nested mappings and dotted keys may be mixed.

    Raises UserError naming file and line: unreadable file, bad YAML, a key written twice.
    """
    name = shown or str(path)
    root = compose_yaml(path, name)
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise UserError(f"{name}:1: a recipe is a mapping of sections, such as `actor:`")
    settings: dict[str, Setting] = {}
    root.value = [pair for pair in root.value if not str(pair[0].value).startswith(ANCHORS)]
    for key, node in _leaves(root, "", name):
        where = f"{name}:{node.start_mark.line + 1}"
        if key in settings:
            raise UserError(f"{where}: {key} is set twice (first at {settings[key].where})")
        settings[key] = Setting(value_of(node, name), where)
    if {"hash", "data_sha256", "source"} <= settings.keys():
        raise UserError(
            f"{name}:1: is the record of a run, not a recipe: start the recipe that it was made of, "
            f"{settings['source'].value}"
        )
    return settings


def _leaves(node: yaml.MappingNode, prefix: str, name: str) -> Iterator[tuple[str, yaml.Node]]:
    for key_node, value_node in merged(node, name):
        key = f"{prefix}{key_node.value}"
        if isinstance(value_node, yaml.MappingNode) and value_node.value:
            yield from _leaves(value_node, f"{key}.", name)
        else:
            yield key, value_node


def stored_settings(path: Path) -> dict[str, Any]:
    """Dotted key -> value of a run's recipe.yaml, as it was used. Raises UserError where it is none."""
    content = read_yaml(path)
    settings = content.get("settings") if isinstance(content, dict) else None
    if not isinstance(settings, dict):
        raise UserError(f"{path}: holds no `settings`; restore the file as the run wrote it")
    count = content.get(COUNT, len(settings))  # none in a record of an older version
    if count != len(settings):
        raise UserError(
            f"{path}: is cut or changed: it holds {len(settings)} of {count} settings; restore the file as the run "
            "wrote it"
        )
    return settings


def parse_overrides(tokens: list[str]) -> dict[str, Setting]:
    """`--section.key value ...` and `--section.key=value`; several values make a list, none means true."""
    given: dict[str, list[str]] = {}
    key = ""
    for token in tokens:
        if token.startswith("--"):
            key, separator, inline = token[2:].partition("=")
            given[key] = [inline] if separator else []
        elif not key:
            name, separator, value = token.lstrip("-").partition("=")
            meant = (
                f"; did you mean --{name} {value or '...'}?"
                if "." in name and (separator or token[0] == "-")
                else ""
            )
            raise UserError(
                f"unexpected argument {token!r}: the recipe comes first, then overrides as --section.key value{meant}"
            )
        else:
            given[key].append(token)
    settings = {}
    for key, values in given.items():
        parsed = [_parsed(value, key) for value in values]
        text = values[0] if len(values) == 1 else None
        settings[key] = Setting(
            parsed if len(parsed) > 1 else parsed[0] if parsed else True, f"--{key}", text, not parsed
        )
    if settings.pop("", Setting(True, "")).value is not True:  # `--` alone ends typer's options
        raise UserError(
            f"unexpected argument {'--' + '='.join(['', *given['']])!r}: write --section.key value"
        )
    return settings


def _parsed(text: str, key: str) -> Any:
    """What is no YAML, such as `@x` or `[a`, is text; a key that takes none refuses it by its type."""
    try:
        value = parse_value(text, f"--{key}") if text else ""
    except UserError:
        return text
    return text if value is None and text.lower() not in ("null", "~") else value
