"""The small interface between an evaluation and what generates: token ids in, responses out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dipo_eval.errors import UserError

ENGINES = ("vllm", "hf")
DTYPES = ("auto", "float32", "bfloat16", "float16")

# Called with the number of responses that have become ready since the last call.
OnDone = Callable[[int], None]


@dataclass(frozen=True)
class Sampling:
    """How to sample: temperature 0 is greedy, and then top_p has no effect."""

    temperature: float = 0.0
    top_p: float = 1.0


@dataclass(frozen=True)
class Request:
    """One prompt: token ids, `n` samples of at most `max_tokens` tokens each, and the seed of the first."""

    prompt_token_ids: Sequence[int]
    n: int
    max_tokens: int
    seed: int


@dataclass(frozen=True)
class Generation:
    """One response: text without special tokens, ids with the end token, and "stop" or "length"."""

    text: str
    token_ids: list[int]
    finish_reason: str


class Engine(Protocol):
    """A loaded model.

    `generate` returns for every request, in order, its n generations. `close` frees all that the engine
    holds, so that the next checkpoint can be loaded in the same process; it may be called twice.
    """

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, on_done: OnDone | None = None
    ) -> list[list[Generation]]: ...

    def close(self) -> None: ...


def open_engine(name: str, model: Path, *, max_model_len: int, dtype: str) -> Engine:
    """Load `model` in the engine named. Raises UserError for an unknown engine or a model that does not load.

    Imports stay inside: vllm and transformers take seconds, and --help or a skipped evaluation needs neither.
    """
    if name == "vllm":
        from dipo_eval.vllm_engine import VllmEngine

        return VllmEngine(model, max_model_len=max_model_len, dtype=dtype)
    if name == "hf":
        from dipo_eval.hf_engine import HfEngine

        return HfEngine(model, dtype=dtype)
    raise UserError(f"unknown engine {name!r}; choose from {', '.join(ENGINES)}")


def one_line(error: BaseException) -> str:
    """The last line of an error's message that says anything: what fits in one line for the user."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"[:400]
