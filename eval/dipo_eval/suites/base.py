"""What a suite is: one short module with a `SUITE`, found by discovery (see __init__.py)."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from dipo_eval.engines.base import Message
from dipo_eval.errors import UserError
from dipo_eval.grading import Verdict
from dipo_eval.suites.data_file import DataFile

Gold = str | list[str] | list[dict[str, Any]] | list[list[str]]
T = TypeVar("T")


@dataclass(frozen=True)
class Item:
    """One problem: `messages` in chat form, the gold answer, and what else its samples carry (such as kind).

    `tools`: functions on offer for native tool calls, in the form that chat templates and servers take.
    """

    id: str
    messages: list[dict[str, str]]
    gold: Gold
    meta: Mapping[str, Any] = field(default_factory=dict)
    tools: list[dict[str, Any]] | None = None


@dataclass(frozen=True)
class Ask:
    """The next request of a dialogue: all messages so far, and the tools on offer (None: the prompt form has none)."""

    messages: Sequence[Message]
    tools: Sequence[dict[str, Any]] | None = None


class Dialogue(Protocol):
    """One sample of an item that takes several requests, such as a conversation with tools.

    The item's own messages and tools are the first request. `reply(text)` takes the model's response and gives the
    next request, or None at the end. `cut(reason)` ends it where a prompt no longer fits the context. `response()` is
    then the text that is graded and stored: everything that the model wrote. Responses are hostile: no method raises
    because of one, and whatever runs on them has a time limit.
    """

    def reply(self, text: str) -> Ask | None: ...

    def cut(self, reason: str) -> None: ...

    def response(self) -> str: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Suite:
    """A benchmark.

    `data`: the file of the items, where there is one; `files`: those that make a user's own suite.
    `load(data_dir, limit, seed)` returns its items, all checked: data_dir None means the variable DIPO_DATA_DIR,
    limit None means all. It raises UserError naming file and line of unsound data. `grade(response, item)` never
    raises on a response. `overall(metrics)` gives the field `overall` of results.json: numbers made of its metrics.
    `converse(item)` gives an item's dialogue, or None for an item that is one prompt. `stop`: strings that end a
    response. `plain`: the content of an item's one message is continued as it is, without the model's chat template
    (few-shot forms, base models).
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
    """Hash of all prompts and golds: ids, messages, golds, meta, tools, and their order."""
    rows = [
        [item.id, item.messages, item.gold, dict(item.meta), *([item.tools] if item.tools else [])]
        for item in items
    ]
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode("ascii")).hexdigest()


def take(items: list[T], limit: int | None, seed: int) -> list[T]:
    """A random subset of `limit` items, fixed by the seed, in the order given; all for None."""
    check_limit(limit)
    if limit is None or limit >= len(items):
        return items
    chosen = set(random.Random(seed).sample(range(len(items)), limit))
    return [item for index, item in enumerate(items) if index in chosen]


def check_limit(limit: int | None) -> None:
    """Raises UserError for a limit below 1."""
    if limit is not None and limit < 1:
        raise UserError(f"limit={limit} leaves no problem to evaluate; give at least 1")
