"""What a suite is: one short module with a `SUITE`, found by discovery (see __init__.py)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dipo_eval.grading import Verdict
from dipo_eval.suites.data_file import DataFile
from dipo_eval.suites.dialogue import Dialogue

Gold = str | list[str] | list[dict[str, Any]] | list[list[str]]


@dataclass(frozen=True)
class Item:
    """One problem: `messages` in chat form, the right answer, and what else its samples carry (e.g. kind).

    `tools`: functions on offer for native tool calls, in the form that chat templates and servers take.
    """

    id: str
    messages: list[dict[str, str]]
    gold: Gold
    meta: Mapping[str, Any] = field(default_factory=dict)
    tools: list[dict[str, Any]] | None = None


@dataclass(frozen=True)
class Suite:
    """A benchmark.

    `data` is the file that the items are from, where there is one; `files` are those that make a user's own suite.
    `load(data_dir, limit, seed)` returns its items, all checked: data_dir None means the variable
    DIPO_DATA_DIR, limit None means all. It raises UserError naming file and line where the data is not
    sound. `grade(response, item)` never raises on a response, whatever it holds. `overall(metrics)`, where a
    suite has one, gives the field `overall` of results.json: numbers made of its metrics. `converse(item)`,
    where a suite has one, gives an item's dialogue, or None for an item that is one prompt. `stop`: texts that end
    a response, where the benchmark's own form has them. `plain`: an item's one message is a text that the model
    continues as it stands, without its chat template (few-shot forms, base models).
    """

    name: str
    source: str
    license: str
    metric: str
    load: Callable[[Path | None, int | None, int], list[Item]]
    grade: Callable[[str, Item], Verdict]
    data: DataFile | None = None
    files: tuple[Path, ...] = ()
    overall: Callable[[Mapping[str, Mapping[str, Any]]], dict[str, Any]] | None = None
    converse: Callable[[Item], Dialogue | None] | None = None
    stop: tuple[str, ...] = ()
    plain: bool = False


def items_sha256(items: Sequence[Item]) -> str:
    """Hash of everything that an evaluation asks and expects: ids, prompts, golds, meta, and their order."""
    rows = [
        [item.id, item.messages, item.gold, dict(item.meta), *([item.tools] if item.tools else [])]
        for item in items
    ]
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode("ascii")).hexdigest()
