"""On which nodes Ray puts a recipe's groups, in an empty cluster of equal nodes.

Ray fills one node after another with the bundles of a PACK group and begins with the emptiest
(BundlePackSchedulingPolicy and LeastResourceScorer of its raylet); a test compares this with a real cluster.
actor.num_nodes does not spread the actor: only its product with actor.num_gpus_per_node counts. Which rank of a group is
on which of its nodes is Ray's choice too; an engine's GPUs are next to each other
(openrlhf/trainer/ray/utils.py, get_bundle_indices). In a cluster that others use Ray does as well as it can, and a rank
of an actor of one GPU a node, which has no group, goes where Ray's default policy puts it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from dipo_openrlhf.recipe.placement.parts import ENGINE, WATCHER, Bundle, Placement


@dataclass(frozen=True)
class Layout:
    """Members of each GPU, node by node; a free GPU has none. `waiting`: GPUs of a watcher that has to wait for one."""

    nodes: tuple[tuple[Bundle, ...], ...]
    waiting: int = 0

    @property
    def parts_by_node(self) -> tuple[Counter[str], ...]:
        """How many GPUs of each node each part uses."""
        return tuple(Counter(member.part for gpu in node for member in gpu) for node in self.nodes)

    @property
    def split_engines(self) -> list[int]:
        """Engines whose GPUs are on several nodes, which makes every token cross the network."""
        found: dict[int, set[int]] = {}
        for number, node in enumerate(self.nodes):
            for member in (member for gpu in node for member in gpu if member.part == ENGINE):
                found.setdefault(member.number, set()).add(number)
        return sorted(engine for engine, nodes in found.items() if len(nodes) > 1)


def layout(parts: Placement, nodes: int, gpus_per_node: int) -> Layout:
    """The groups on `nodes` of `gpus_per_node` GPUs; the caller has checked that the training's fit."""
    placed: list[list[Bundle]] = [[] for _ in range(nodes)]
    waiting = 0
    for group in parts.groups:
        if group.owner == WATCHER:
            waiting = _place_watcher(placed, group.bundles, gpus_per_node)
            continue
        rest = list(group.bundles)
        while rest:
            emptiest = min(placed, key=len)
            room = gpus_per_node - len(emptiest)
            if room < 1:
                raise ValueError(f"{parts.total} GPUs do not fit {nodes} x {gpus_per_node}")
            emptiest += rest[:room]
            rest = rest[room:]
    return Layout(tuple(tuple(node + [()] * (gpus_per_node - len(node))) for node in placed), waiting)


def _place_watcher(placed: list[list[Bundle]], bundles: tuple[Bundle, ...], gpus_per_node: int) -> int:
    """On any node that has room for all of it, where it is a task of its own; else it waits in Ray's queue."""
    for node in placed:
        if len(node) + len(bundles) <= gpus_per_node:
            node += bundles
            return 0
    return len(bundles)
