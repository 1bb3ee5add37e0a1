"""A recipe and its cluster: the engines that fit, and what OpenRLHF or Ray would refuse, or wait for without end."""

from __future__ import annotations

from dipo_eval.errors import UserError
from dipo_openrlhf.recipe.placement.needs import gpus_to_start
from dipo_openrlhf.recipe.placement.parts import (
    actor_gpus,
    has_reference,
    placement,
    reference_beside_actor,
    shares_gpus,
)
from dipo_openrlhf.recipe.recipe import Recipe


def add_engines(recipe: Recipe) -> None:
    """Fill in vllm.num_engines, in place, where the recipe names its cluster and leaves them out.

    They leave a GPU to the watcher beside the training.
    """
    if not recipe.run.nodes or recipe.get("vllm.num_engines") is not None:
        return
    parts = placement(recipe)
    free = parts.actor if shares_gpus(recipe) else _cluster_gpus(recipe) - parts.total
    engines = free // recipe.get("vllm.tensor_parallel_size")
    if engines < 1:
        share = ", or set train.colocate_all: true" if parts.actor <= _cluster_gpus(recipe) else ""
        raise UserError(
            f"{_cluster(recipe)} leave none to a rollout engine ({parts}): lower actor.num_gpus_per_node{share}"
        )
    recipe.openrlhf["vllm.num_engines"] = engines
    recipe.where["vllm.num_engines"] = "what fits run.nodes"


def check_cluster(recipe: Recipe) -> None:
    """Raise UserError where parts that share GPUs differ in number, or the training does not fit `run.nodes`.

    The first is asserted in openrlhf/cli/train_ppo_ray.py, train, on the cluster.
    """
    _check_shared(recipe)
    run = recipe.run
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
    if (required := gpus_to_start(recipe)) > _cluster_gpus(recipe):
        raise UserError(
            f"{_cluster(recipe)} are {_cluster_gpus(recipe)}, but the recipe requires {required}: {placement(recipe)}"
        )


def _check_shared(recipe: Recipe) -> None:
    actor, tp = actor_gpus(recipe), recipe.get("vllm.tensor_parallel_size")
    if shares_gpus(recipe) and (taken := recipe.get("vllm.num_engines") * tp) != actor:
        place = recipe.where.get("vllm.num_engines", recipe.source)
        raise UserError(
            f"{place}: vllm.num_engines: {recipe.get('vllm.num_engines')}: with train.colocate_all, engines * "
            f"vllm.tensor_parallel_size = {taken} must be the actor's GPUs, {actor}"
        )
    if not (has_reference(recipe) and reference_beside_actor(recipe)):
        return
    for name in ("num_nodes", "num_gpus_per_node"):
        key, wanted = f"ref.{name}", recipe.get(f"actor.{name}")
        if recipe.get(key) != wanted:
            place = recipe.place(key)
            raise UserError(
                f"{place}: {key}: {recipe.get(key)}: the reference model (algo.kl.init_coef above 0) shares the actor's "
                f"GPUs, so set it to actor.{name}, {wanted}"
            )


def _cluster_gpus(recipe: Recipe) -> int:
    return recipe.run.nodes * recipe.run.gpus_per_node


def _cluster(recipe: Recipe) -> str:
    place = recipe.where.get("run.nodes", recipe.source)
    return f"{place}: run.nodes: {recipe.run.nodes} of {recipe.run.gpus_per_node} GPUs"
