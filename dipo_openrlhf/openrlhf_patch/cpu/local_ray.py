"""A Ray of one's own on this machine, started again where it did not come up in time."""

from __future__ import annotations

import os
from typing import Any

STARTS = 3
RAYLET_SECONDS = 90


def start_ray(**settings: Any) -> Any:
    """`ray.init(address="local", ...)`, tried up to STARTS times; what it returns.

    Ray gives its own processes 30 seconds to come up (ray/_private/node.py:411), which a busy machine can miss, and
    raises a plain Exception then. Any other is raised at once.
    """
    os.environ.setdefault("RAY_raylet_start_wait_time_s", str(RAYLET_SECONDS))
    import ray

    for attempt in range(1, STARTS + 1):
        try:
            return ray.init(address="local", include_dashboard=False, **settings)
        except Exception as error:
            if "timed out during startup" not in str(error) or attempt == STARTS:
                raise
            print(f"Ray did not come up in time (attempt {attempt} of {STARTS})", flush=True)
            ray.shutdown()
    raise AssertionError("unreachable")
