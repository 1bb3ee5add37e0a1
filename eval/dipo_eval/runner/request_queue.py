"""All requests of one checkpoint in one queue, with one load of its model; responses are kept as they finish."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dipo_eval.engines.base import TOO_LONG, Engine, Generation, Prompt, Request, Sampling
from dipo_eval.engines.prompts import Renderer
from dipo_eval.errors import UserError
from dipo_eval.runner.generation_cache import GenerationCache
from dipo_eval.suites.base import Dialogue


@dataclass(frozen=True)
class Answer:
    """The response of one sample. A dialogue's tokens are summed; its reason is the first that is not "stop"."""

    text: str
    n_tokens: int
    prompt_tokens: int
    finish_reason: str
    requests: int = 1


@dataclass
class Slot:
    """A place in the queue: one prompt with `n` samples, or one sample of a dialogue.

    `prompt` and `seed` are those of the first request; `answers` are set when the slot is done, at `seconds` after the
    queue's start, without the time of loading.
    """

    prompt: Prompt
    n: int
    seed: int
    stop: tuple[str, ...] = ()
    dialogue: Dialogue | None = None
    steps: list[Generation] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    seconds: float = 0.0


class Queue:
    """Takes slots through the cache and the engine.

    `context`: maximal tokens of prompt and response together; None: unknown, a server's.
    """

    def __init__(
        self,
        renderer: Renderer,
        cache: GenerationCache,
        sampling: Sampling,
        max_new_tokens: int,
        context: int | None,
        on_slot: Callable[[Slot], None],
    ) -> None:
        self._renderer, self._cache, self._sampling, self._on_slot = renderer, cache, sampling, on_slot
        self._max_new_tokens, self._context = max_new_tokens, context
        # By position in the engine's queue; removed when answered, since a conversation's prompts are long.
        self._pairs: dict[int, tuple[Slot, Request]] = {}
        self._sent = 0
        self._started = time.monotonic()
        self.load_seconds = 0.0

    def run(self, slots: Sequence[Slot], load: Callable[[], Engine]) -> None:
        """Answer every slot. The model is loaded only if the cache lacks a response."""
        for slot in slots:
            self._queue(slot, self._request(slot, slot.prompt, slot.seed))
        if not self._pairs:
            return
        started = time.monotonic()
        engine = load()
        self.load_seconds = time.monotonic() - started
        try:
            engine.generate([request for _, request in self._pairs.values()], self._sampling, self._on_done)
        finally:
            engine.close()

    def _on_done(self, position: int, generations: list[Generation]) -> list[Request]:
        slot, request = self._pairs.pop(position)
        self._cache.put(self._cache.key(request, self._sampling), generations)
        return self._queue(slot, self._next(slot, generations))

    def _queue(self, slot: Slot, request: Request | None) -> list[Request]:
        """Queue the slot's next request that is not in the cache; none where the slot is done."""
        while request is not None:
            kept = self._cache.get(self._cache.key(request, self._sampling))
            if kept is None:
                self._pairs[self._sent] = (slot, request)
                self._sent += 1
                return [request]
            request = self._next(slot, kept)
        return []

    def _request(self, slot: Slot, prompt: Prompt, seed: int) -> Request | None:
        room = self._max_new_tokens
        if self._context is not None:
            room = min(room, self._context - len(prompt.token_ids))
        if room > 0:
            return Request(prompt, slot.n, room, seed, slot.stop)
        if slot.dialogue is not None:
            slot.dialogue.cut("the prompt fills the context")
        slot.steps += [Generation("", 0, TOO_LONG)] * slot.n
        self._finish(slot)
        return None

    def _next(self, slot: Slot, generations: list[Generation]) -> Request | None:
        slot.steps += generations
        if slot.dialogue is not None and (ask := slot.dialogue.reply(generations[0].text)) is not None:
            try:
                prompt = self._renderer.render(ask.messages, ask.tools)
            except UserError as error:  # the template cannot show this conversation; the others continue
                slot.dialogue.cut(str(error))
            else:
                return self._request(slot, prompt, slot.seed + len(slot.steps))
        self._finish(slot)
        return None

    def _finish(self, slot: Slot) -> None:
        asked = len(slot.prompt.token_ids)
        if slot.dialogue is None:
            slot.answers = [
                Answer(one.text, one.n_tokens, one.prompt_tokens or asked, one.finish_reason)
                for one in slot.steps
            ]
        else:
            reasons = [one.finish_reason for one in slot.steps if one.finish_reason != "stop"]
            slot.answers = [
                Answer(
                    slot.dialogue.response(),
                    sum(one.n_tokens for one in slot.steps),
                    slot.steps[0].prompt_tokens or asked,
                    reasons[0] if reasons else "stop",
                    len(slot.steps),
                )
            ]
            slot.dialogue.close()
        slot.steps = []
        slot.seconds = time.monotonic() - self._started - self.load_seconds
        self._on_slot(slot)
