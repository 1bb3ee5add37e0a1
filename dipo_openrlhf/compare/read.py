"""A comparison from its YAML: a mistake is one line with file, line, key and remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from dipo_eval.discovery import unknown
from dipo_eval.errors import UserError, short_repr
from dipo_eval.files.yaml_file import compose_yaml, line_of, value_of
from dipo_openrlhf.compare.checks import KeyedError, check
from dipo_openrlhf.compare.spec import Comparison, as_yaml_number

SHIPPED = Path(__file__).parent / "comparisons"


def shipped() -> list[str]:
    """Names of the comparisons that are shipped."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def read_comparison(
    name: str, changed: Callable[[Comparison], Comparison] = lambda found: found
) -> Comparison:
    """A shipped comparison by its name, or one from a YAML file, with what options change. Raises UserError with one
    line."""
    path = Path(name)
    if not path.suffix and (SHIPPED / f"{name}.yaml").is_file():
        path = SHIPPED / f"{name}.yaml"
    elif not path.is_file():
        if path.suffix in (".yaml", ".yml"):
            raise UserError(f"{name}: no such file")
        raise unknown("comparison", name, shipped())
    shown = path.name if path.parent == SHIPPED else str(path)
    node = compose_yaml(path, shown)
    content = None if node is None else value_of(node, shown)
    if node is None or not isinstance(content, dict):
        raise UserError(f"{shown}: must hold keys with values, such as methods: {{grpo: {{}}, dipo: {{}}}}")
    try:
        found = Comparison.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = [part for part in first["loc"] if part != "function-after"]
        text = ".".join(str(part) for part in key)
        if first["type"] == "extra_forbidden":
            section = f"{'.'.join(map(str, key[:-1]))}: " if key[:-1] else ""
            why = unknown("key", str(key[-1]), _keys_beside(key))
            raise UserError(f"{shown}:{line_of(node, key)}: {section}{why}") from None
        rule = "is missing" if first["type"] == "missing" else first["msg"].replace("Input should", "must")
        given = "" if first["type"] == "missing" else f" {short_repr(first.get('input'))}:"
        if first["type"] in ("float_type", "int_type"):
            number = as_yaml_number(first.get("input"), whole=first["type"] == "int_type")
            rule += f": write {number}" if number else ""
        raise UserError(f"{shown}:{line_of(node, key)}: {text}:{given} {rule}") from None
    found = changed(found)
    try:
        check(found)
    except KeyedError as error:
        raise UserError(f"{shown}:{line_of(node, error.key)}: {error}") from None
    return found if found.name else found.model_copy(update={"name": path.stem})


def _keys_beside(key: list[Any]) -> list[str]:
    model: Any = Comparison
    for part in key[:-1]:
        field = model.model_fields.get(part)
        kinds = getattr(field.annotation, "__args__", (field.annotation,)) if field else ()
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if model is None:
            return []
    return list(model.model_fields)
