"""What a sample of an item asks a model: one prompt, or several that depend on the answers before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dipo_eval.engines.base import Message


@dataclass(frozen=True)
class Ask:
    """The next thing to ask: all messages so far, and the tools on offer (None: the prompt form has none)."""

    messages: Sequence[Message]
    tools: Sequence[dict[str, Any]] | None = None


class Dialogue(Protocol):
    """One sample of an item that takes several requests, such as a conversation with tools.

    The item's own messages and tools are the first thing to ask. `reply(text)` takes the model's answer and gives
    the next thing to ask, or None at the end. `cut(reason)` ends it where a prompt no longer fits the context.
    `response()` is then the text that the suite's `grade` gets and that is stored: everything that the model said.
    Answers are hostile: no method raises because of one, and whatever runs on them has a time limit.
    """

    def reply(self, text: str) -> Ask | None: ...

    def cut(self, reason: str) -> None: ...

    def response(self) -> str: ...

    def close(self) -> None: ...
