"""Say which node of a joined Ray cluster a run has lost.

Ray gives a node up about a minute after it was cut off, and tells whoever waits for an actor there. A run that is still
placing its actors waits for no actor yet: it waits for room, for ever.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dipo_openrlhf.openrlhf_patch.health.monitor import watch_for_death

POLL_SECONDS = 5.0


@dataclass(frozen=True)
class View:
    """The cluster as this process's run sees it. `places`: ids of the nodes where the run has something."""

    addresses: dict[str, str]  # of live nodes, by id
    gpus: int
    places: frozenset[str]
    is_replacing: bool = False  # Ray looks for another place for something of the run


def view() -> View | None:
    """As Ray has it now; None before it is joined, or while it does not answer."""
    import ray
    from ray.util.placement_group import placement_group_table

    if not ray.is_initialized():
        return None
    try:
        context = ray.get_runtime_context()
        job, driver_node = context.get_job_id(), context.get_node_id()
        nodes = [node for node in ray.nodes() if node["Alive"]]
        # A group's id ends with that of its job.
        groups = [group for name, group in placement_group_table().items() if name.endswith(job)]
    except Exception:  # Ray's own answer to a driver whose GCS is gone ends that driver
        return None
    places = {node for group in groups for node in group["bundles_to_node_id"].values() if node}
    return View(
        addresses={node["NodeID"]: node["NodeManagerAddress"] for node in nodes},
        gpus=int(sum(node["Resources"].get("GPU", 0) for node in nodes)),
        places=frozenset({*places, driver_node}),
        is_replacing=any(group["state"] == "RESCHEDULING" for group in groups),
    )


@dataclass
class NodeWatch:
    """Call it again and again. `gpus`: what the run needs.

    Nodes of a cluster that others share come and go: one counts where the run has a place on it, or cannot do without.
    """

    gpus: int
    _addresses: dict[str, str] = field(default_factory=dict)
    _places: set[str] = field(default_factory=set)

    def __call__(self) -> str | None:
        """The cause that ends the run, or None."""
        now = view()
        return self.cause(now) if now is not None else None

    def cause(self, now: View) -> str | None:
        """As `__call__`, of a given view."""
        self._addresses |= now.addresses
        self._places |= now.places
        lost = self._addresses.keys() - now.addresses.keys()
        if not now.is_replacing and now.gpus >= self.gpus:
            lost &= self._places
        if not lost:
            return None
        names = ", ".join(sorted(self._addresses[node] for node in lost))
        return (
            f"the Ray cluster has lost {names} (cut off, or without power): {now.gpus} GPUs are left, and the run "
            f"needs {self.gpus}"
        )


def watch_cluster(
    run_dir: Path,
    nodes: NodeWatch,
    exit_now: Callable[[int], None] = os._exit,
    poll: float = POLL_SECONDS,
) -> threading.Event:
    """Watch a cluster that this process joins; set the returned event before it leaves in good order."""
    return watch_for_death("cluster-health", nodes, run_dir, poll, exit_now)
