"""How many GPUs and nodes a recipe takes: what a launcher asks a scheduler for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dipo_openrlhf.recipe.defaults import on_cpu
from dipo_openrlhf.recipe.schema import Recipe

GPUS_OF_A_NODE = 8


@dataclass(frozen=True)
class Needs:
    """`gpus`: in all; `nodes` x `gpus_per_node` holds them."""

    gpus: int
    nodes: int
    gpus_per_node: int
    cpu: bool  # a CPU run: its GPUs are pretended


def gpus_of(recipe: Recipe) -> int:
    """GPUs of actor, engines and reference model, as openrlhf/cli/train_ppo_ray.py:40 places them."""
    actor = recipe.get("actor.num_nodes") * recipe.get("actor.num_gpus_per_node")
    engines = (recipe.get("vllm.num_engines") or 0) * recipe.get("vllm.tensor_parallel_size")
    shares_all = bool(recipe.get("train.colocate_all"))
    total = actor if shares_all and not recipe.get("train.async_enable") else actor + engines
    if recipe.get("algo.kl.init_coef") > 0 and not shares_all and not recipe.get("train.colocate_actor_ref"):
        total += recipe.get("ref.num_nodes") * recipe.get("ref.num_gpus_per_node")
    return int(total)


def needs_of(recipe: Recipe, gpus_per_node: int = GPUS_OF_A_NODE) -> Needs:
    """The fewest nodes of `gpus_per_node` GPUs; a recipe that fits one asks for no more than it uses."""
    gpus = gpus_of(recipe)
    nodes = max(1, math.ceil(gpus / gpus_per_node))
    return Needs(gpus, nodes, gpus if nodes == 1 else gpus_per_node, on_cpu(recipe.run.device))
