"""The keys for a reader, docs/reference.md, and for an editor, a JSON schema (draft 2020-12): `dipo recipes`."""

from __future__ import annotations

import math
from itertools import groupby
from typing import Any

from dipo_openrlhf.recipe.files import GOES_WITH
from dipo_openrlhf.recipe.keys import Key, all_keys
from dipo_openrlhf.recipe.ranges import Range
from dipo_openrlhf.recipe.yaml_lines import ANCHORS

_WORDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
_HEAD = """# Every key of a recipe

Made by `dipo recipes --reference` from the code that checks a recipe. `dipo`, `run`, `evaluate` and `watch` are this
project's sections; all other keys are OpenRLHF's own arguments under its own names. A default that `dipo.method`, the
device or this project sets in the place of OpenRLHF's is the one shown, and `null` stands for the default of every key.
[P] is the paper.

An editor that reads JSON schemas checks keys, types and ranges as you type:

```bash
dipo recipes --schema > recipe.schema.json
```

and in the recipe's first line, for editors with yaml-language-server:

```yaml
# yaml-language-server: $schema=recipe.schema.json
```

What only several keys together can get wrong is found by `dipo train RECIPE --dry-run`.
"""
_ESCAPED = str.maketrans({"|": "\\|", "<": "&lt;"})
_ORDER = ("dipo", "run", "evaluate", "watch")


def reference() -> str:
    """docs/reference.md: one table a section."""
    lines = [_HEAD]
    for (_, section), keys in groupby(sorted(all_keys(), key=_place), _place):
        lines += [f"## {section or 'Without a section'}", ""]
        lines += ["| key | type | default | range | meaning |", "|---|---|---|---|---|"]
        lines += [*map(_row, keys), ""]
    return "\n".join(lines).rstrip() + "\n"


def _place(key: Key) -> tuple[int, str]:
    """Our sections in their order, then OpenRLHF's by the alphabet, then what has none."""
    section, dot, _ = key.name.partition(".")
    if section in _ORDER:
        return _ORDER.index(section), section
    return (len(_ORDER), section) if dot else (len(_ORDER) + 1, "")


def _row(key: Key) -> str:
    kind = _WORDS[key.kind]
    if key.count is not None:
        kind = f"list of {key.count or ''} {kind}s".replace("  ", " ").replace("texts", "text")
    allowed = ", ".join(f"`{one}`" for one in key.choices) or (_range(key.allowed) if key.allowed else "")
    cells = f"`{key.name}`", kind, _default(key), allowed, key.meaning
    return f"| {' | '.join(cell.translate(_ESCAPED) for cell in cells)} |"


def _default(key: Key) -> str:
    shown = key.computed or _text(key.default)
    return shown if key.on_cpu is None else f"{shown}; on CPU {_text(key.on_cpu)}".removeprefix("; ")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    return "" if value in (None, "") else f"{value:.10g}" if isinstance(value, float) else str(value)


def _range(allowed: Range) -> str:
    rule = allowed.rule.removeprefix("must be ")
    return rule if "finite" not in rule else ""


def schema() -> dict[str, Any]:
    """A JSON schema of recipes: nested and dotted keys, their types and ranges; unknown keys are refused."""
    keys = all_keys()
    sections = sorted({name for key in keys for name in _above(key.name)})
    whole = _object("", keys, sections)
    names = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    whole["properties"] |= {
        "extends": {**names, "description": "Recipes and variants that this one is laid over"},
        GOES_WITH: {**names, "description": "Of a variant: the recipes and variants that it is sized for"},
    }
    whole["patternProperties"] = {f"^{ANCHORS}": {}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A recipe of dipo train",
        **whole,
        "$defs": {name: _object(f"{name}.", keys, sections) for name in sections},
    }


def _above(name: str) -> list[str]:
    """The sections that a key lies in: `actor` and `actor.adam` of `actor.adam.lr`."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def _object(start: str, keys: list[Key], sections: list[str]) -> dict[str, Any]:
    """A mapping whose keys are names below `start`, in one word with dots or in several mappings."""
    inner = {
        name.removeprefix(start): {"$ref": f"#/$defs/{name}"} for name in sections if name.startswith(start)
    }
    leaves = {key.name.removeprefix(start): _leaf(key) for key in keys if key.name.startswith(start)}
    return {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {**inner, **leaves, **({"<<": {}} if start else {})},
    }


def _leaf(key: Key) -> dict[str, Any]:
    one: dict[str, Any] = {"type": _TYPES[key.kind]}
    if key.choices:
        one = {"enum": list(key.choices)}
    if key.allowed is not None and key.kind is not bool:
        one = _limited(one, key.allowed)
    value = one
    if key.count is not None:
        value = {"type": "array", "items": one}
        if key.count:
            value |= {"minItems": key.count, "maxItems": key.count}
        else:
            value = {"anyOf": [value, one]}  # one value needs no list
    default = (
        {} if key.computed or key.default is None or _is_infinite(key.default) else {"default": key.default}
    )
    return {"anyOf": [value, {"type": "null"}], "description": key.meaning, **default}


def _is_infinite(value: Any) -> bool:
    return isinstance(value, float) and math.isinf(value)


def _limited(one: dict[str, Any], allowed: Range) -> dict[str, Any]:
    limits = dict(one)
    if not math.isinf(allowed.low):
        limits["exclusiveMinimum" if allowed.above else "minimum"] = allowed.low
    if not math.isinf(allowed.high):
        limits["exclusiveMaximum" if allowed.below else "maximum"] = allowed.high
    return limits if allowed.also is None else {"anyOf": [limits, {"const": allowed.also}]}
