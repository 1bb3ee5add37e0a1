"""Threads that end a process when something vital to the run has died: its own Ray, a joined cluster's node, an engine.

Without them a run waits for minutes or forever, and `dipo train` only sees that nothing moves. A cause found here is
written as the run's failure within seconds.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dipo_eval.errors import one_line
from dipo_openrlhf.record.events import write_event
from dipo_openrlhf.record.stop_request import StopRequest, ask_to_stop

POLL_SECONDS = 5.0
VITAL = ("raylet", "gcs_server")  # a run goes on without the log monitor or the dashboard


def watch_for_death(
    name: str,
    find_cause: Callable[[], str | None],
    run_dir: Path,
    poll: float = POLL_SECONDS,
    exit_now: Callable[[int], None] = os._exit,
) -> threading.Event:
    """Call `find_cause` (dead_ray, dead_engine or a NodeWatch) every `poll` seconds, until the returned event is set.

    A cause is written as the run's failure, which may be restarted, and the process ends at once: Ray reports its death
    to those that wait for it, and `dipo train` ends what is left. Set the event before a normal shutdown.
    """
    stopping = threading.Event()

    def watch() -> None:
        while not stopping.wait(poll):
            try:
                cause = find_cause()
            except Exception as error:  # such as a module that is still being imported: ask again
                print(f"{name}: {one_line(error)}", file=sys.stderr, flush=True)
                continue
            if cause is not None and not stopping.is_set():
                write_event(run_dir, "failed", error=cause, may_restart=True)
                exit_now(1)
                return

    threading.Thread(target=watch, name=name, daemon=True).start()
    return stopping


def own_node() -> Any:
    """The Ray node that this process has started, or None. A node of a joined cluster has no processes of ours."""
    worker = sys.modules.get("ray._private.worker")  # being imported, it may lack all of its names
    return getattr(getattr(worker, "global_worker", None), "node", None)


def dead_ray(node: Callable[[], Any] = own_node) -> str | None:
    """Which vital process of the Ray that this process has started is dead."""
    found = node()
    dead = [] if found is None else [str(name) for name, _ in found.dead_processes() if name in VITAL]
    return f"Ray's {' and '.join(dead)} ended unexpectedly (killed, or out of memory)" if dead else None


def dead_engine(engines: Sequence[Any], patience: float = 5.0) -> str | None:
    """Which rollout engine Ray reports dead; one that is merely slow to answer is not. Called in the trainer's process.

    An engine that dies while it generates is an error at once. One that dies while weights are sent to it, or before it
    has joined the actor's group, is not: openrlhf/trainer/ray/ppo_actor.py, ActorPPOTrainer.broadcast_to_vllm waits for
    it forever, and others wait for the actor.
    """
    import ray
    from ray.exceptions import ActorDiedError

    requests = {engine.get_num_unfinished_requests.remote(): number for number, engine in enumerate(engines)}
    if not requests:
        return None
    ready, _ = ray.wait(list(requests), num_returns=len(requests), timeout=patience)
    for reference in ready:
        try:
            ray.get(reference)
        except ActorDiedError:
            return f"rollout engine {requests[reference]} died (killed, out of memory, or its node is gone)"
        except Exception:  # the engine's own error, or Ray is reconnecting: it may live
            continue
    return None


@dataclass(frozen=True)
class View:
    """The cluster as this process's run sees it. `places`: ids of the nodes where the run has something."""

    addresses: dict[str, str]  # of live nodes, by id
    gpus: int
    places: frozenset[str]
    is_replacing: bool = False  # Ray is rescheduling a placement group of the run
    drained: dict[str, float] = field(default_factory=dict)  # id -> seconds until it ends; 0: not known


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
        drained = ray._private.state.state.get_draining_nodes()
        # A group's id ends with that of its job.
        groups = [group for name, group in placement_group_table().items() if name.endswith(job)]
    except Exception:  # Ray itself ends a driver whose GCS is gone
        return None
    places = {node for group in groups for node in group["bundles_to_node_id"].values() if node}
    return View(
        addresses={node["NodeID"]: node["NodeManagerAddress"] for node in nodes},
        gpus=int(sum(node["Resources"].get("GPU", 0) for node in nodes)),
        places=frozenset({*places, driver_node}),
        is_replacing=any(group["state"] == "RESCHEDULING" for group in groups),
        drained={node: max(0.0, end / 1000 - time.time()) for node, end in drained.items()},
    )


@dataclass
class NodeWatch:
    """Finds a lost node of a joined cluster; to be called again and again. `gpus`: what the run needs. For a node that is
    drained, `run_dir`'s run is asked to save and stop.

    Nodes of a shared cluster come and go: one counts where the run has a place on it, or cannot do without. Ray gives up
    a node about a minute after it was cut off, but a run that is still placing its actors would wait for room forever.
    """

    gpus: int
    run_dir: Path
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
        for node in sorted(now.drained.keys() & self._places):
            reason = f"Ray drains {self._addresses.get(node, node)}"
            with contextlib.suppress(OSError):  # a full disk ends no watch
                ask_to_stop(self.run_dir, StopRequest(reason, now.drained[node], may_restart=True))
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
