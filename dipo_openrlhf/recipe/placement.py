"""How a recipe's processes share the GPUs of the cluster, by OpenRLHF's own placement rules: the one place that counts.

Source: openrlhf/cli/train_ppo_ray.py, train and openrlhf/trainer/ray/vllm_engine.py, create_vllm_engines. With
train.colocate_all, actor, reference and engines share one placement group of actor.num_nodes * actor.num_gpus_per_node
bundles, and the engines must fill it exactly; asynchronous training ignores that for the engines. Otherwise each has a
placement group of its own.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from dipo_eval.errors import UserError
from dipo_openrlhf.recipe.recipe import Recipe


@dataclass(frozen=True)
class Placement:
    """GPUs that each part takes for itself; 0 for one that shares another's. A CPU run simulates them."""

    actor: int
    reference: int
    engines: int
    watcher: int

    @property
    def training(self) -> int:
        """GPUs without which the training cannot start."""
        return self.actor + self.reference + self.engines

    @property
    def total(self) -> int:
        return self.training + self.watcher

    def __str__(self) -> str:
        return " + ".join(f"{name} {count}" for name, count in asdict(self).items() if count)


def shares_gpus(recipe: Recipe) -> bool:
    """Whether actor and engines take turns on the same GPUs."""
    return bool(recipe.get("train.colocate_all") and not recipe.get("train.async_enable"))


def actor_gpus(recipe: Recipe) -> int:
    """GPUs of the actor: its data-parallel ranks times the GPUs that each is split over."""
    return int(recipe.get("actor.num_nodes") * recipe.get("actor.num_gpus_per_node"))


def placement(recipe: Recipe) -> Placement:
    """GPUs by part. Assumes no critic and no reward model, which no method of this project uses."""
    reference = engines = 0
    beside_actor = recipe.get("train.colocate_all") or recipe.get("train.colocate_actor_ref")
    if recipe.get("algo.kl.init_coef") > 0 and not beside_actor:
        reference = recipe.get("ref.num_nodes") * recipe.get("ref.num_gpus_per_node")
    if not shares_gpus(recipe):
        engines = (recipe.get("vllm.num_engines") or 0) * recipe.get("vllm.tensor_parallel_size")
    during = recipe.watcher_on_ray and recipe.watch.when == "during"
    watcher = math.ceil(recipe.watch.num_gpus) if during else 0
    return Placement(actor_gpus(recipe), reference, engines, watcher)


@dataclass(frozen=True)
class Needs:
    """What a launcher requests: `gpus` in all, which `nodes` x `gpus_per_node` hold."""

    gpus: int
    nodes: int
    gpus_per_node: int
    simulated: bool  # by Ray, in a CPU run


def needs_of(recipe: Recipe, gpus_per_node: int) -> Needs:
    """The fewest nodes of `gpus_per_node` GPUs; a recipe that fits one requests no more than it uses.

    No node is requested for the watcher alone: without a free GPU it waits in Ray's queue until the training ends.
    """
    parts = placement(recipe)
    nodes = max(1, math.ceil(gpus_to_start(recipe) / gpus_per_node))
    gpus = min(parts.total, nodes * gpus_per_node)
    return Needs(gpus, nodes, gpus if nodes == 1 else gpus_per_node, recipe.on_cpu)


def gpus_to_start(recipe: Recipe) -> int:
    """GPUs that a cluster must have: the training's, and the watcher's where the training waits for its evaluations."""
    parts = placement(recipe)
    return parts.total if recipe.waits_for_evaluation else parts.training


def add_engines(recipe: Recipe) -> None:
    """Fill in vllm.num_engines, in place, where the recipe names its cluster and leaves them out."""
    if not recipe.run.nodes or recipe.get("vllm.num_engines") is not None:
        return
    parts = placement(recipe)
    free = parts.actor if shares_gpus(recipe) else _cluster_gpus(recipe) - parts.total
    engines = free // recipe.get("vllm.tensor_parallel_size")
    if engines < 1:
        raise UserError(
            f"{_cluster(recipe)} leave none to a rollout engine ({parts}): lower actor.num_gpus_per_node, or set "
            "train.colocate_all: true"
        )
    recipe.openrlhf["vllm.num_engines"] = engines
    recipe.where["vllm.num_engines"] = "what fits run.nodes"


def check_cluster(recipe: Recipe) -> None:
    """Raise UserError where the engines do not fill the actor's GPUs, or the parts do not fit the cluster."""
    parts, run = placement(recipe), recipe.run
    engines, tp = recipe.get("vllm.num_engines"), recipe.get("vllm.tensor_parallel_size")
    if shares_gpus(recipe) and engines * tp != parts.actor:
        place = recipe.where.get("vllm.num_engines", recipe.source)
        raise UserError(
            f"{place}: vllm.num_engines: {engines}: with train.colocate_all, engines * vllm.tensor_parallel_size = "
            f"{engines * tp} must be the actor's GPUs, {parts.actor}"
        )
    if not run.nodes:
        return
    for key, limit in (
        ("actor.num_nodes", run.nodes),
        ("actor.num_gpus_per_node", run.gpus_per_node),
        ("vllm.tensor_parallel_size", run.gpus_per_node),
    ):
        if recipe.get(key) > limit:
            place = recipe.where.get(key, recipe.source)
            raise UserError(
                f"{place}: {key}: {recipe.get(key)}: the recipe's cluster has {limit} (run.nodes)"
            )
    if parts.total > _cluster_gpus(recipe):
        raise UserError(
            f"{_cluster(recipe)} are {_cluster_gpus(recipe)}, but the recipe requires {parts.total}: {parts}"
        )


def _cluster_gpus(recipe: Recipe) -> int:
    return recipe.run.nodes * recipe.run.gpus_per_node


def _cluster(recipe: Recipe) -> str:
    place = recipe.where.get("run.nodes", recipe.source)
    return f"{place}: run.nodes: {recipe.run.nodes} of {recipe.run.gpus_per_node} GPUs"
