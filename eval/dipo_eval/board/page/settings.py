"""How the results were made: what all have in common once, and for each only what is its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from dipo_eval.board.data.load import Result

LONGEST = 2000
"""Characters of a value."""


class Settings(NamedTuple):
    """Name -> value as a string. `own` has one table a result, in the results' order."""

    common: dict[str, str]
    own: list[dict[str, str]]


def collect_settings(results: Sequence[Result]) -> Settings:
    """Model, settings, hashes, versions and seconds; with a single result all of it is its own."""
    tables = [_flat(result) for result in results]
    shared = set.intersection(*(set(table.items()) for table in tables)) if len(tables) > 1 else set()
    common = {name: value for name, value in tables[0].items() if (name, value) in shared} if tables else {}
    return Settings(common, [{n: v for n, v in table.items() if n not in common} for table in tables])


def _flat(result: Result) -> dict[str, str]:
    found = {
        f"{group}: {name}": _text(value)
        for group, table in result.details.items()
        for name, value in table.items()
        if len(name) <= LONGEST
    }
    return {**found, "created": result.created or "not stated"}


def _text(value: Any) -> str:
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    except RecursionError:
        return "nested too deeply to show"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text):,} characters)"
