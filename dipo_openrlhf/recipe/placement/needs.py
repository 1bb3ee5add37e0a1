"""What a launcher requests of a cluster."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dipo_openrlhf.recipe.placement.nodes import Layout, layout
from dipo_openrlhf.recipe.placement.parts import placement
from dipo_openrlhf.recipe.recipe import Recipe


@dataclass(frozen=True)
class Needs:
    """`gpus` in all, which `nodes` x `gpus_per_node` hold, and what then sits where."""

    gpus: int
    nodes: int
    gpus_per_node: int
    simulated: bool  # by Ray, in a CPU run
    layout: Layout


def needs_of(recipe: Recipe, gpus_per_node: int | None = None) -> Needs:
    """The fewest nodes of `gpus_per_node` GPUs (None: run.gpus_per_node); a recipe that fits one requests no more than it
    uses.

    No node is requested for the watcher alone: without a free GPU it waits in Ray's queue until the training ends.
    """
    size = gpus_per_node or recipe.run.gpus_per_node
    parts = placement(recipe)
    nodes = max(1, math.ceil(gpus_to_start(recipe) / size))
    gpus = min(parts.total, nodes * size)
    size = gpus if nodes == 1 else size
    return Needs(gpus, nodes, size, recipe.on_cpu, layout(parts, nodes, size))


def gpus_to_start(recipe: Recipe) -> int:
    """GPUs that a cluster must have: the training's, and the watcher's where the training waits for its evaluations."""
    parts = placement(recipe)
    return parts.total if recipe.waits_for_evaluation else parts.training
