"""The placement groups of a recipe, in the order in which OpenRLHF asks Ray for them.

Source: openrlhf/cli/train_ppo_ray.py, train; openrlhf/trainer/ray/launcher.py, RayActorGroup and
openrlhf/trainer/ray/vllm_engine.py, create_vllm_engines. With train.colocate_all, actor, reference and engines share one
group of actor.num_nodes * actor.num_gpus_per_node bundles of one GPU, and the engines must fill it exactly; asynchronous
training gives the engines a group of their own all the same. No critic and no reward model: no method of this project
uses one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from dipo_openrlhf.recipe.recipe import Recipe

ACTOR, REFERENCE, ENGINE, WATCHER = "actor", "reference", "engine", "watcher"


@dataclass(frozen=True)
class Member:
    """One process on a GPU: an actor's or reference's rank, an engine (on each of its GPUs), the watcher."""

    part: str
    number: int

    def __str__(self) -> str:
        return self.part if self.part == WATCHER else f"{self.part} {self.number}"


Bundle = tuple[Member, ...]  # what shares one GPU


@dataclass(frozen=True)
class Group:
    """What Ray places together: for each GPU its members. All but the watcher's is a placement group of strategy PACK,
    and each bundle takes a CPU core too.
    """

    bundles: tuple[Bundle, ...]

    @property
    def owner(self) -> str:
        """The part that takes the GPUs; others are its guests."""
        return self.bundles[0][0].part


@dataclass(frozen=True)
class Placement:
    """Every group of a recipe."""

    groups: tuple[Group, ...]

    def _taken(self, part: str) -> int:
        return sum(len(group.bundles) for group in self.groups if group.owner == part)

    @property
    def actor(self) -> int:
        """GPUs of the actor: its data-parallel ranks times the GPUs that each is split over."""
        return self._taken(ACTOR)

    @property
    def reference(self) -> int:
        """GPUs that the reference model takes for itself; 0 where it has none, or shares the actor's."""
        return self._taken(REFERENCE)

    @property
    def engines(self) -> int:
        """GPUs that the engines take for themselves; 0 where they share the actor's."""
        return self._taken(ENGINE)

    @property
    def watcher(self) -> int:
        """GPUs of a watcher beside the training."""
        return self._taken(WATCHER)

    @property
    def training(self) -> int:
        """GPUs without which the training cannot start."""
        return self.total - self.watcher

    @property
    def total(self) -> int:
        return sum(len(group.bundles) for group in self.groups)

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """GPUs by part: actor, reference, engines, watcher."""
        return self.actor, self.reference, self.engines, self.watcher

    def __str__(self) -> str:
        names = ("actor", "reference", "engines", "watcher")
        return " + ".join(f"{name} {count}" for name, count in zip(names, self.counts, strict=True) if count)


def shares_gpus(recipe: Recipe) -> bool:
    """Whether actor and engines take turns on the same GPUs."""
    return bool(recipe.get("train.colocate_all") and not recipe.get("train.async_enable"))


def actor_gpus(recipe: Recipe) -> int:
    """GPUs of the actor, for what needs that alone (an incomplete recipe has no placement)."""
    return int(recipe.get("actor.num_nodes") * recipe.get("actor.num_gpus_per_node"))


def has_reference(recipe: Recipe) -> bool:
    return bool(recipe.get("algo.kl.init_coef") > 0)


def reference_gpus(recipe: Recipe) -> int:
    return int(recipe.get("ref.num_nodes") * recipe.get("ref.num_gpus_per_node"))


def reference_beside_actor(recipe: Recipe) -> bool:
    """Whether the reference model shares the actor's GPUs, where there is one."""
    return bool(recipe.get("train.colocate_all") or recipe.get("train.colocate_actor_ref"))


def placement(recipe: Recipe) -> Placement:
    """The groups of a recipe. A CPU run has the same on simulated GPUs."""
    tp = recipe.get("vllm.tensor_parallel_size")
    engines: list[Bundle] = [
        (Member(ENGINE, number // tp),) for number in range((recipe.get("vllm.num_engines") or 0) * tp)
    ]
    actor = _ranks(ACTOR, actor_gpus(recipe))
    reference = _ranks(REFERENCE, reference_gpus(recipe)) if has_reference(recipe) else []
    if beside := reference_beside_actor(recipe):
        actor, reference = _together(actor, reference), []
    if shares_gpus(recipe):
        actor, engines = _together(actor, engines), []
    watcher = [(Member(WATCHER, 0),)] * _watcher_gpus(recipe)
    first, second = (actor, engines) if beside else (engines, actor)
    groups = [bundles for bundles in (first, second, reference, watcher) if bundles]
    return Placement(tuple(Group(tuple(bundles)) for bundles in groups))


def _ranks(part: str, count: int) -> list[Bundle]:
    return [(Member(part, rank),) for rank in range(count)]


def _together(hosts: list[Bundle], guests: Iterable[Bundle]) -> list[Bundle]:
    """Guests on the hosts' GPUs, one each; how many there may be is checked in cluster.py."""
    by_place = dict(enumerate(guests))
    return [(*host, *by_place.get(place, ())) for place, host in enumerate(hosts)]


def _watcher_gpus(recipe: Recipe) -> int:
    during = recipe.watcher_on_ray and recipe.watch.when == "during"
    return math.ceil(recipe.watch.num_gpus) if during else 0
