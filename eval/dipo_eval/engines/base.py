"""The interface of an engine: prompts in, responses out as they finish."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

DTYPES = ("auto", "float32", "bfloat16", "float16")

# Finish reason of a prompt that leaves no room for a response; the engine never sees it.
TOO_LONG = "prompt_too_long"

Message = dict[str, Any]


@dataclass(frozen=True)
class Sampling:
    """How to sample: temperature 0 is greedy, and then top_p has no effect."""

    temperature: float = 0.0
    top_p: float = 1.0


@dataclass(frozen=True)
class Prompt:
    """A prompt as messages (and tools), and rendered as text and tokens.

    A server renders the prompt itself: then `text` is the messages as JSON and there are no tokens. `plain`: `text` is
    continued as it is, without a chat template, by a server too.
    """

    text: str
    token_ids: list[int]
    prompt_hash: str  # sha256 of `text`
    messages: Sequence[Message] = ()
    tools: Sequence[dict[str, Any]] | None = None
    plain: bool = False


@dataclass(frozen=True)
class Request:
    """One prompt, `n` samples of at most `max_tokens` tokens each, and the seed of the first sample.

    `stop`: strings that end a response and are not part of it.
    """

    prompt: Prompt
    n: int
    max_tokens: int
    seed: int
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Generation:
    """One response: text without special tokens, its length, and "stop", "length" or TOO_LONG.

    `n_tokens` includes the end token. `prompt_tokens`: as counted by a server, else None.
    """

    text: str
    n_tokens: int
    finish_reason: str
    prompt_tokens: int | None = None


# Called with a request's position and its n generations as soon as they are finished, always in the thread that
# called `generate`; the requests that it returns are queued at the next positions.
OnDone = Callable[[int, list[Generation]], Sequence[Request]]


class Engine(Protocol):
    """A loaded model, or a server that has one.

    `generate` answers every request, and those that `on_done` adds, in any order. `close` frees the model, so that the
    next checkpoint can be loaded in the same process; it may be called twice.
    """

    def generate(self, requests: Sequence[Request], sampling: Sampling, on_done: OnDone) -> None: ...

    def close(self) -> None: ...


def longest_first(request: Request) -> tuple[int, int]:
    """A sort key: the requests that may take longest come first."""
    return -request.max_tokens, -len(request.prompt.token_ids)


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    """`text` up to the first stop string in it."""
    return text[: min((at for one in stop if (at := text.find(one)) >= 0), default=len(text))]
