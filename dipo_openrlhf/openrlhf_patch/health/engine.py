"""End the trainer when a rollout engine has died, wherever the run stands.

An engine that dies while it generates is an error at once. One that dies while weights are sent to it, or before it has
joined the actor's group, is not: the actor waits for it for ever (ppo_actor.py:430), and others for the actor.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorDiedError

from dipo_openrlhf.openrlhf_patch.health.monitor import watch_for_death

POLL_SECONDS = 5.0


def dead_engine(engines: Sequence[Any], patience: float = POLL_SECONDS) -> int | None:
    """Number of the first engine that Ray says is dead, else None. One that is merely slow to answer is not."""
    asked = {engine.get_num_unfinished_requests.remote(): number for number, engine in enumerate(engines)}
    if not asked:
        return None
    ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=patience)
    for reference in ready:
        try:
            ray.get(reference)
        except ActorDiedError:
            return asked[reference]
        except Exception:  # the engine's own answer, or a connection that Ray is still mending: it may live
            continue
    return None


def watch_engines(
    run_dir: Path,
    engines: Sequence[Any],
    exit_now: Callable[[int], None] = os._exit,
    poll: float = POLL_SECONDS,
) -> threading.Event:
    """Watch the engines; set the returned event before they are ended in good order. The driver, which waits for this
    process, is told by Ray that it has ended.
    """

    def find_cause() -> str | None:
        dead = dead_engine(engines)
        if dead is None:
            return None
        return f"rollout engine {dead} died (killed, out of memory, or its node is gone)"

    return watch_for_death("engine-health", find_cause, run_dir, poll, exit_now)
