"""How a recipe's processes share the GPUs of the cluster it names, by OpenRLHF's own placement rules.

Source: openrlhf/cli/train_ppo_ray.py:37-132 and trainer/ray/vllm_engine.py:226. With train.colocate_all, actor, reference
and engines share one placement group of actor.num_nodes * actor.num_gpus_per_node bundles, and the engines must fill
it exactly; asynchronous training ignores that for the engines. Otherwise each has a placement group of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dipo_eval.errors import UserError

if TYPE_CHECKING:
    from dipo_openrlhf.recipe.schema import Recipe


@dataclass(frozen=True)
class Placement:
    """GPUs that each part takes for itself; 0 for one that shares another's."""

    actor: int
    reference: int
    engines: int
    watcher: int

    @property
    def total(self) -> int:
        return self.actor + self.reference + self.engines + self.watcher

    def __str__(self) -> str:
        parts = {
            "actor": self.actor,
            "reference": self.reference,
            "engines": self.engines,
            "watcher": self.watcher,
        }
        return " + ".join(f"{name} {count}" for name, count in parts.items() if count)


def shares_gpus(recipe: Recipe) -> bool:
    """Whether actor and engines take turns on the same GPUs."""
    return bool(recipe.get("train.colocate_all") and not recipe.get("train.async_enable"))


def placement(recipe: Recipe) -> Placement:
    """GPUs by part. Assumes no critic and no reward model, which the methods of this project have not."""
    actor = recipe.get("actor.num_nodes") * recipe.get("actor.num_gpus_per_node")
    reference = 0
    beside_actor = recipe.get("train.colocate_all") or recipe.get("train.colocate_actor_ref")
    if recipe.get("algo.kl.init_coef") > 0 and not beside_actor:
        reference = recipe.get("ref.num_nodes") * recipe.get("ref.num_gpus_per_node")
    engines = 0
    if not shares_gpus(recipe):
        engines = (recipe.get("vllm.num_engines") or 0) * recipe.get("vllm.tensor_parallel_size")
    return Placement(actor, reference, engines, _watcher_gpus(recipe))


def _watcher_gpus(recipe: Recipe) -> int:
    """GPUs of the Ray task that evaluates checkpoints while training goes on (watcher.py)."""
    watch = recipe.watch
    wanted = watch.enabled and watch.ray and watch.when == "during" and recipe.evaluate.suites
    return math.ceil(watch.num_gpus) if wanted else 0


def add_engines(recipe: Recipe) -> None:
    """Fill in vllm.num_engines, in place, where the recipe names its cluster and leaves them out."""
    if not recipe.run.nodes or recipe.get("vllm.num_engines") is not None:
        return
    parts = placement(recipe)
    free = parts.actor if shares_gpus(recipe) else _cluster(recipe) - parts.total
    engines = free // recipe.get("vllm.tensor_parallel_size")
    if engines < 1:
        raise UserError(
            f"{_place(recipe)}: run.nodes: {recipe.run.nodes} of {recipe.run.gpus_per_node} GPUs leave none to a rollout "
            f"engine ({parts}): lower actor.num_gpus_per_node, or set train.colocate_all: true"
        )
    recipe.openrlhf["vllm.num_engines"] = engines
    recipe.where["vllm.num_engines"] = "what fits run.nodes"


def check_cluster(recipe: Recipe) -> None:
    """Raise UserError where the engines do not fill the actor's GPUs, or the parts do not fit the cluster."""
    parts = placement(recipe)
    tp = recipe.get("vllm.tensor_parallel_size")
    if shares_gpus(recipe) and recipe.get("vllm.num_engines") * tp != parts.actor:
        place = recipe.where.get("vllm.num_engines", recipe.source)
        raise UserError(
            f"{place}: vllm.num_engines: {recipe.get('vllm.num_engines')}: with train.colocate_all, engines * "
            f"vllm.tensor_parallel_size = {recipe.get('vllm.num_engines') * tp} must be the actor's GPUs, {parts.actor}"
        )
    if not recipe.run.nodes:
        return
    for key, most in (
        ("actor.num_nodes", recipe.run.nodes),
        ("actor.num_gpus_per_node", recipe.run.gpus_per_node),
        ("vllm.tensor_parallel_size", recipe.run.gpus_per_node),
    ):
        if recipe.get(key) > most:
            place = recipe.where.get(key, recipe.source)
            raise UserError(f"{place}: {key}: {recipe.get(key)}: the recipe's cluster has {most} (run.nodes)")
    if parts.total > _cluster(recipe):
        raise UserError(
            f"{_place(recipe)}: run.nodes: {recipe.run.nodes} of {recipe.run.gpus_per_node} GPUs are {_cluster(recipe)}, "
            f"but the recipe asks for {parts.total}: {parts}"
        )


def _cluster(recipe: Recipe) -> int:
    return recipe.run.nodes * recipe.run.gpus_per_node


def _place(recipe: Recipe) -> str:
    return recipe.where.get("run.nodes", recipe.source)
