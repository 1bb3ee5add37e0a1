"""A Ray that dies under its driver is seen, and one that is shut down in good order is not taken for dead."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import ray
from deaths import told_death

from dipo_openrlhf.openrlhf_patch.health import own_node, watch_ray
from dipo_openrlhf.openrlhf_patch.ray_start import start_ray
from dipo_openrlhf.record.events import read_events


def test_a_raylet_that_is_killed_ends_the_driver_with_the_cause(tmp_path: Path) -> None:
    start_ray(num_cpus=1, object_store_memory=100 * 1024**2)
    exits: list[int] = []
    stopping = watch_ray(tmp_path, exit_now=exits.append, poll=0.1)
    try:
        time.sleep(0.5)
        assert exits == []
        (raylet,) = own_node().all_processes["raylet"]
        raylet.process.kill()
        event = told_death(tmp_path, exits)
        assert event["error"] == "Ray's raylet ended unexpectedly (killed, or out of memory)"
    finally:
        stopping.set()
        ray.shutdown()


def test_the_end_of_a_run_is_no_failure(tmp_path: Path) -> None:
    exits: list[int] = []
    stopping = watch_ray(tmp_path, node=lambda: None, exit_now=exits.append, poll=0.05)
    time.sleep(0.2)
    stopping.set()
    (thread,) = [each for each in threading.enumerate() if each.name == "ray-health"]
    thread.join(5)
    assert not thread.is_alive()
    assert exits == []
    assert read_events(tmp_path) == []
