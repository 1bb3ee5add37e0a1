"""What travels with a batch from the generator to the training actor, beside what OpenRLHF sends.

OpenRLHF's two loops (ppo_trainer_async.py:101 and :199) build and take apart the queue's entries themselves; a part
of ours stands in the queue's place at either end and adds to, or takes from, the client states of a batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

KEY = "dipo_batch_metadata"
CARRIED_OVER = "async/carried_over_samples"


@dataclass(frozen=True)
class BatchMetadata:
    """Facts of one batch.

    Attributes:
        metrics: what its generator logged.
        carried_over: reference to the samples generated beyond it (carried_over.py), or None.
        last_of_episode: whether its episode's prompts and samples end with it.
        queued: time of day when it was put into the queue.
        rng: where the generator's random numbers were then (rng_state.py).
    """

    metrics: dict[str, float] = field(default_factory=dict)
    carried_over: Any = None
    last_of_episode: bool = False
    queued: float = 0.0
    rng: dict[str, Any] | None = None


def _is_batch(entry: Any) -> bool:
    """Else "done", or ("eval", step, metrics)."""
    return isinstance(entry, tuple) and len(entry) == 4


class QueueWriter:
    """The generator's end. `pack` is called when a batch is ready, before the next one is begun."""

    def __init__(self, queue: Any, pack: Callable[[], BatchMetadata]) -> None:
        self.queue = queue
        self.pack = pack

    def put(self, entry: Any, block: bool = True) -> None:
        if _is_batch(entry):
            states, metadata = entry[1], self.pack()
            # The loader is through: a resume in this episode would find it at its beginning and repeat all of it.
            states["episode"] += metadata.last_of_episode
            states[KEY] = metadata
        self.queue.put(entry, block=block)


class QueueReader:
    """The training actor's end.

    Attributes:
        metadata: of the batch taken last.
        metrics: how long that batch had lain in the queue, and how long the training actor had waited for it.
    """

    def __init__(self, queue: Any) -> None:
        self.queue = queue
        self.metadata = BatchMetadata()
        self.metrics: dict[str, float] = {}

    def get(self, block: bool = True) -> Any:
        started = time.time()
        entry = self.queue.get(block=block)
        if _is_batch(entry):
            self.metadata = entry[1].pop(KEY)
            now = time.time()
            self.metrics = {
                "async/queue_seconds": max(0.0, now - self.metadata.queued),  # another machine, another clock
                "async/wait_seconds": now - started,
            }
        return entry
