"""End the driver when a part of its own Ray has died.

Without its raylet or GCS a driver waits: for minutes, or for ever, and says nothing. `dipo train` then knows only that
nothing moves. Here the death itself is seen, within seconds, and is the cause that is told.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dipo_openrlhf.openrlhf_patch.health.monitor import watch_for_death

POLL_SECONDS = 2.0
VITAL = ("raylet", "gcs_server")  # a run goes on without the log monitor or the dashboard


def own_node() -> Any:
    """The Ray node that this process has started; None before that. One that was joined has no processes of ours."""
    worker = sys.modules.get("ray._private.worker")
    return worker.global_worker.node if worker is not None else None


def dead_parts(node: Any) -> list[str]:
    """Which of the node's processes that it cannot do without are gone, but for those that Ray ended itself."""
    return [str(name) for name, _ in node.dead_processes() if name in VITAL]


def watch_ray(
    run_dir: Path,
    node: Callable[[], Any] = own_node,
    exit_now: Callable[[int], None] = os._exit,
    poll: float = POLL_SECONDS,
) -> threading.Event:
    """Watch a Ray of one's own; set the returned event before it is shut down in good order."""

    def find_cause() -> str | None:
        found = node()
        dead = dead_parts(found) if found is not None else []
        return f"Ray's {' and '.join(dead)} ended unexpectedly (killed, or out of memory)" if dead else None

    return watch_for_death("ray-health", find_cause, run_dir, poll, exit_now)
