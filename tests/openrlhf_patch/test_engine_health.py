"""A dead engine is told from a slow one. Ray is real; the engine does nothing but answer."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import ray
from deaths import told_death
from ray.exceptions import ActorUnavailableError

from dipo_openrlhf.openrlhf_patch.health import dead_engine, watch_engines
from dipo_openrlhf.openrlhf_patch.ray_start import start_ray


@ray.remote(num_cpus=0, max_concurrency=2)
class Engine:
    def __init__(self, seconds: float = 0.0, unavailable: bool = False) -> None:
        self.seconds, self.unavailable = seconds, unavailable

    def get_num_unfinished_requests(self) -> int:
        time.sleep(self.seconds)
        if self.unavailable:
            raise ActorUnavailableError("its connection broke", None)
        return 0

    def die(self) -> None:
        os._exit(1)


def test_a_dead_engine_ends_the_trainer_with_the_cause(tmp_path: Path) -> None:
    start_ray(num_cpus=2, object_store_memory=100 * 1024**2)
    try:
        well, slow, ill = Engine.remote(), Engine.remote(60.0), Engine.remote()
        away = Engine.remote(unavailable=True)
        ray.get([well.get_num_unfinished_requests.remote(), ill.get_num_unfinished_requests.remote()])
        with pytest.raises(ActorUnavailableError):
            ray.get(away.get_num_unfinished_requests.remote())
        assert dead_engine([well, slow, away, ill], patience=2.0) is None
        exits: list[int] = []
        stopping = watch_engines(tmp_path, [well, ill], exit_now=exits.append, poll=0.2)
        time.sleep(1.0)
        assert exits == []
        ill.die.remote()
        event = told_death(tmp_path, exits)
        stopping.set()
        assert event["error"] == "rollout engine 1 died (killed, out of memory, or its node is gone)"
    finally:
        ray.shutdown()
