"""What has died is found and ends the run: a node of a joined cluster, a rollout engine, a part of the run's own Ray."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.exceptions import ActorUnavailableError
from ray.util.placement_group import placement_group

from dipo_openrlhf.openrlhf_patch.health import (
    NodeWatch,
    View,
    dead_engine,
    dead_ray,
    own_node,
    watch_for_death,
)
from dipo_openrlhf.openrlhf_patch.ray_start import start_ray
from dipo_openrlhf.record.events import read_events
from dipo_openrlhf.record.stop_request import asked_to_stop

NODES = {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"}


def wait_for_death(run_dir: Path, exits: list[int], limit: float = 60) -> dict[str, Any]:
    """The failure that a watch writes before it calls `exits.append`: the only event, and one that may be restarted."""
    deadline = time.monotonic() + limit
    while not exits and time.monotonic() < deadline:
        time.sleep(0.1)
    assert exits == [1]
    (event,) = read_events(run_dir)
    assert (event["stage"], event["may_restart"]) == ("failed", True)
    return event


def view_of(nodes: str, gpus: int, places: str = "a", is_replacing: bool = False) -> View:
    return View({name: NODES[name] for name in nodes}, gpus, frozenset(places), is_replacing)


@pytest.mark.parametrize(
    ("views", "lost"),
    [
        pytest.param([view_of("abc", 24), view_of("ab", 16)], None, id="another's node"),
        pytest.param([view_of("abc", 24, "ab"), view_of("ac", 16, "a")], "10.0.0.2", id="a node of the run"),
        pytest.param([view_of("abc", 24), view_of("bc", 16, "a")], "10.0.0.1", id="the driver's"),
        pytest.param([view_of("ab", 16), view_of("a", 8)], "10.0.0.2", id="too few GPUs are left, nothing is placed yet"),
        pytest.param([view_of("ab", 16), view_of("abc", 24)], None, id="one more"),
        pytest.param([view_of("a", 8)], None, id="too few from the beginning: an error of join_cluster"),
        pytest.param([view_of("abc", 24), view_of("ac", 16, is_replacing=True)], "10.0.0.2", id="placed, then lost"),
        pytest.param([view_of("abc", 24), view_of("ac", 16), view_of("abc", 24)], None, id="another's that came back"),
    ],
)  # fmt: skip
def test_which_lost_node_ends_the_run(views: list[View], lost: str | None, tmp_path: Path) -> None:
    watch = NodeWatch(16, tmp_path)
    causes = [watch.cause(view) for view in views]
    assert causes[:-1] == [None] * (len(views) - 1)
    if lost is None:
        assert causes[-1] is None
    else:
        assert f"has lost {lost} (cut off" in str(causes[-1])


def test_a_run_on_a_drained_node_is_asked_to_stop(tmp_path: Path) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 1})
    try:
        second = cluster.add_node(num_cpus=1, num_gpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        watch = NodeWatch(2, tmp_path)
        ray.get(placement_group([{"GPU": 1}] * 2, strategy="STRICT_SPREAD").ready(), timeout=60)
        assert watch() is None
        assert asked_to_stop(tmp_path) is None
        words = ["drain-node", "--address", cluster.address, "--node-id", second.node_id]
        words += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
        ray_command = str(Path(sys.executable).with_name("ray"))
        subprocess.run([ray_command, *words, "--deadline-remaining-seconds", "500"], check=True, timeout=120)
        assert watch() is None, "it lives until its deadline"
        request = asked_to_stop(tmp_path)
        assert request is not None
        assert request.reason == f"Ray drains {second.node_ip_address}"
        assert request.may_restart
        assert 300 < request.seconds <= 500
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_a_node_that_dies_while_the_run_is_placed_ends_the_driver(tmp_path: Path) -> None:
    """No actor is on it yet: a placement group for both nodes waits for a third."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 1})
    try:
        second = cluster.add_node(num_cpus=1, num_gpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        group = placement_group([{"GPU": 1}] * 2, strategy="SPREAD")
        ray.get(group.ready(), timeout=60)
        exits: list[int] = []
        stopping = watch_for_death("node", NodeWatch(2, tmp_path), tmp_path, 0.2, exits.append)
        time.sleep(1)
        assert exits == []
        cluster.remove_node(second, allow_graceful=False)
        event = wait_for_death(tmp_path, exits)
        stopping.set()
        assert "1 GPUs are left, and the run needs 2" in event["error"]
    finally:
        ray.shutdown()
        cluster.shutdown()


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
        healthy, slow, dying = Engine.remote(), Engine.remote(60.0), Engine.remote()
        unavailable_engine = Engine.remote(unavailable=True)
        ray.get([healthy.get_num_unfinished_requests.remote(), dying.get_num_unfinished_requests.remote()])
        with pytest.raises(ActorUnavailableError):
            ray.get(unavailable_engine.get_num_unfinished_requests.remote())
        assert dead_engine([healthy, slow, unavailable_engine, dying], patience=2.0) is None
        exits: list[int] = []
        find = lambda: dead_engine([healthy, dying])  # noqa: E731
        stopping = watch_for_death("engine", find, tmp_path, 0.2, exits.append)
        time.sleep(1.0)
        assert exits == []
        dying.die.remote()
        event = wait_for_death(tmp_path, exits)
        stopping.set()
        assert event["error"] == "rollout engine 1 died (killed, out of memory, or its node is gone)"
    finally:
        ray.shutdown()


def test_a_raylet_that_is_killed_ends_the_driver_with_the_cause(tmp_path: Path) -> None:
    start_ray(num_cpus=1, object_store_memory=100 * 1024**2)
    exits: list[int] = []
    stopping = watch_for_death("ray", dead_ray, tmp_path, 0.1, exits.append)
    try:
        time.sleep(0.5)
        assert exits == []
        (raylet,) = own_node().all_processes["raylet"]
        raylet.process.kill()
        event = wait_for_death(tmp_path, exits)
        assert event["error"] == "Ray's raylet ended unexpectedly (killed, or out of memory)"
    finally:
        stopping.set()
        ray.shutdown()


def test_a_normal_end_is_no_failure(tmp_path: Path) -> None:
    exits: list[int] = []
    stopping = watch_for_death("ray", lambda: dead_ray(node=lambda: None), tmp_path, 0.05, exits.append)
    time.sleep(0.2)
    stopping.set()
    (thread,) = [each for each in threading.enumerate() if each.name == "ray"]
    thread.join(5)
    assert not thread.is_alive()
    assert exits == []
    assert read_events(tmp_path) == []


@pytest.mark.parametrize("state", ["absent", "being imported", "not initialized"])
def test_before_ray_is_up_nothing_is_dead(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    """The watch starts before Ray does: its first look may fall into the import of ray."""
    worker = types.ModuleType("ray._private.worker")
    if state == "not initialized":
        worker.global_worker = types.SimpleNamespace(node=None)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray._private.worker", None if state == "absent" else worker)  # type: ignore[arg-type]
    assert dead_ray() is None


def test_a_question_that_fails_is_asked_again(tmp_path: Path) -> None:
    """A module that is being imported lacks some of its names: the watch once died of it."""
    answers = iter([AttributeError("partially initialized module"), None, "the raylet ended"])
    ended = threading.Event()

    def find_cause() -> str | None:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    watch_for_death("test", find_cause, tmp_path, poll=0.01, exit_now=lambda status: ended.set())
    assert ended.wait(10)
    assert read_events(tmp_path)[-1]["error"] == "the raylet ended"
