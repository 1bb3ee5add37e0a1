"""The commands with which the Ray of a CPU run, on one machine, starts its processes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from dipo_openrlhf.openrlhf_patch.cpu import forked_worker

RAYLET = "raylet"
_WORKER, _AGENT = "--python_worker_command=", "--dashboard_agent_command="


def raylet_command(command: list[str], forks: bool) -> list[str]:
    """Ray's command for its raylet, whose workers are forks of the run's server where it has one."""
    return [_worker_command(part) if forks and part.startswith(_WORKER) else part for part in command]


def _worker_command(part: str) -> str:
    import ray
    from ray._private import ray_constants

    workers = Path(ray.__file__).parent / "_private" / "workers"
    setup = workers / ray_constants.SETUP_WORKER_FILENAME
    theirs = subprocess.list2cmdline([sys.executable, str(setup)])
    # Without the environment's packages, which it needs none of, it starts in a tenth of the time.
    ours = subprocess.list2cmdline([sys.executable, "-I", "-S", forked_worker.__file__])
    return part.replace(theirs, ours)


@contextlib.contextmanager
def commands() -> Iterator[None]:
    """Ray started meanwhile has these commands, and no autoscaler: one machine does not grow."""
    from ray._private import services
    from ray._private.node import Node

    def start_ray_process(command: list[str], process_type: str, *args: Any, **options: Any) -> Any:
        if process_type == RAYLET:
            command = raylet_command(command, forked_worker.ADDRESS in os.environ)
        return original(command, process_type, *args, **options)

    original = services.start_ray_process
    with (
        mock.patch.object(services, "start_ray_process", start_ray_process),
        mock.patch.object(Node, "start_monitor"),
    ):
        yield
