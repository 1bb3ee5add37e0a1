"""A dead engine is told from a slow one. Ray is real; the engine does nothing but answer."""

from __future__ import annotations

import os
import time
from pathlib import Path

import ray

from dipo_openrlhf.events import read_events
from dipo_openrlhf.openrlhf_patch.engine_health import dead_engine, watch_engines
from dipo_openrlhf.openrlhf_patch.local_ray import start_ray


@ray.remote(num_cpus=0, max_concurrency=2)
class Engine:
    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def get_num_unfinished_requests(self) -> int:
        time.sleep(self.seconds)
        return 0

    def die(self) -> None:
        os._exit(1)


def test_a_dead_engine_ends_the_trainer_with_the_cause(tmp_path: Path) -> None:
    start_ray(num_cpus=2, object_store_memory=100 * 1024**2)
    try:
        well, slow, ill = Engine.remote(), Engine.remote(60.0), Engine.remote()
        ray.get([well.get_num_unfinished_requests.remote(), ill.get_num_unfinished_requests.remote()])
        assert dead_engine([well, slow, ill], patience=2.0) is None
        exits: list[int] = []
        stopping = watch_engines(tmp_path, [well, ill], exit_now=exits.append, poll=0.2)
        time.sleep(1.0)
        assert exits == []
        ill.die.remote()
        deadline = time.monotonic() + 30
        while not exits and time.monotonic() < deadline:
            time.sleep(0.1)
        stopping.set()
        assert exits == [1]
        (event,) = read_events(tmp_path)
        assert event["error"] == "rollout engine 1 died (killed, out of memory, or its node is gone)"
        assert event["may_restart"] is True
    finally:
        ray.shutdown()
