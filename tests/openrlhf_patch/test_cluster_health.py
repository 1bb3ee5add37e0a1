"""Which lost node ends a run: one that it stands on, or cannot do without."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import ray
from deaths import told_death
from ray.cluster_utils import Cluster
from ray.util.placement_group import placement_group

from dipo_openrlhf.openrlhf_patch.health import NodeWatch, View, watch_cluster

NODES = {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"}


def seen(nodes: str, gpus: int, places: str = "a", is_replacing: bool = False) -> View:
    return View({name: NODES[name] for name in nodes}, gpus, frozenset(places), is_replacing)


@pytest.mark.parametrize(
    ("views", "lost"),
    [
        pytest.param([seen("abc", 24), seen("ab", 16)], None, id="another's node"),
        pytest.param([seen("abc", 24, "ab"), seen("ac", 16, "a")], "10.0.0.2", id="a node of the run"),
        pytest.param([seen("abc", 24), seen("bc", 16, "a")], "10.0.0.1", id="the driver's"),
        pytest.param([seen("ab", 16), seen("a", 8)], "10.0.0.2", id="too few GPUs are left, nothing is placed yet"),
        pytest.param([seen("ab", 16), seen("abc", 24)], None, id="one more"),
        pytest.param([seen("a", 8)], None, id="too few from the beginning: said when it is joined"),
        pytest.param([seen("abc", 24), seen("ac", 16, is_replacing=True)], "10.0.0.2", id="placed and lost at once"),
        pytest.param([seen("abc", 24), seen("ac", 16), seen("abc", 24)], None, id="another's that came back"),
    ],
)  # fmt: skip
def test_which_node_is_missed(views: list[View], lost: str | None) -> None:
    watch = NodeWatch(gpus=16)
    causes = [watch.cause(view) for view in views]
    assert causes[:-1] == [None] * (len(views) - 1)
    if lost is None:
        assert causes[-1] is None
    else:
        assert f"has lost {lost} (cut off" in str(causes[-1])


def test_a_node_that_dies_while_the_run_is_placed_ends_the_driver(tmp_path: Path) -> None:
    """Nobody waits for an actor on it: a group that was to have both nodes waits for a third."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 1})
    try:
        second = cluster.add_node(num_cpus=1, num_gpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        group = placement_group([{"GPU": 1}] * 2, strategy="SPREAD")
        ray.get(group.ready(), timeout=60)
        exits: list[int] = []
        stopping = watch_cluster(tmp_path, NodeWatch(gpus=2), exit_now=exits.append, poll=0.2)
        time.sleep(1)
        assert exits == []
        cluster.remove_node(second, allow_graceful=False)
        event = told_death(tmp_path, exits)
        stopping.set()
        assert "1 GPUs are left, and the run needs 2" in event["error"]
    finally:
        ray.shutdown()
        cluster.shutdown()
