"""What the tests of the health watches wait for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from dipo_openrlhf.record.events import read_events


def told_death(run_dir: Path, exits: list[int], limit: float = 60) -> dict[str, Any]:
    """The failure that a watch writes before it calls `exits.append`. Fails unless it is the only one, and may be
    restarted.
    """
    deadline = time.monotonic() + limit
    while not exits and time.monotonic() < deadline:
        time.sleep(0.1)
    assert exits == [1]
    (event,) = read_events(run_dir)
    assert (event["stage"], event["may_restart"]) == ("failed", True)
    return event
