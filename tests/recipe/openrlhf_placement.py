"""Where OpenRLHF's own `train` puts a recipe's processes, on a real Ray whose nodes offer simulated GPUs.

    python openrlhf_placement.py RECIPE [--section.key value ...]

Runs openrlhf/cli/train_ppo_ray.py, train as it is, with Ray actors in the place of models and engines that only say where
they are. Each node has the cores that `dipo_openrlhf.estimate.host.least_cores` names. Prints as JSON, for each node, the
parts on each of its GPUs.
"""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

os.environ["DIPO_CPU"] = "1"
os.environ.pop("CUDA_VISIBLE_DEVICES", None)

from dipo_openrlhf.estimate.host import least_cores
from dipo_openrlhf.openrlhf_patch.cpu import changes
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.placement import needs_of
from dipo_openrlhf.recipe.yaml_lines import parse_overrides


class Somewhere:
    """A model or an engine: says on which node and GPU it is."""

    def __init__(self, *unused: Any, bundle_indices: Any = None, **named: Any) -> None:
        self.bundles = bundle_indices

    def where(self) -> tuple[str, list[Any], str, Any]:
        """Node, its GPUs, placement group, and the bundles of an engine of several GPUs."""
        import ray

        group = ray.util.get_current_placement_group()
        node = ray.get_runtime_context().get_node_id()
        return node, ray.get_gpu_ids(), group.id.hex() if group else "", self.bundles

    def get_master_addr_port(self) -> tuple[str, int]:
        return "127.0.0.1", 1

    def init_model_from_pretrained(self, *unused: Any) -> None: ...

    def save_model(self) -> None: ...

    def sleep(self) -> None: ...


def say_nothing(*words: Any) -> None:
    """Of the strategy. Not `print`: ray's progress bars replace it, and then it cannot be pickled."""


class Trainer:
    def __init__(self, *unused: Any, **named: Any) -> None: ...

    def get_max_steps(self) -> int:
        return 1

    def fit(self) -> None: ...


def run(recipe: Any, layout: Any) -> list[list[str]]:
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    cores = least_cores(recipe, layout)
    for node in layout.nodes:
        cluster.add_node(num_cpus=cores, num_gpus=len(node), object_store_memory=80 * 2**20)
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        return placed(ray, recipe)
    finally:
        ray.shutdown()
        cluster.shutdown()


def placed(ray: Any, recipe: Any) -> list[list[str]]:
    changes.install()
    import openrlhf.cli.train_ppo_ray as program
    from openrlhf.trainer.ray import vllm_engine
    from openrlhf.utils.config import hierarchize
    from ray.util.placement_group import placement_group_table

    from dipo_openrlhf.recipe.openrlhf_args import openrlhf_parser

    groups: list[Any] = []
    actor_class = ray.remote(Somewhere)

    class Recorded:
        """In the place of the trainer's class: keeps what it is given."""

        @staticmethod
        def remote(*arguments: Any, **named: Any) -> Any:
            groups.extend(arguments)
            return ray.remote(Trainer).remote()

    if recipe.get("train.async_enable"):
        import openrlhf.trainer.ppo_trainer_async as module

        module.PPOTrainerAsync = Recorded
    else:
        import openrlhf.trainer.ppo_trainer as module

        module.PPOTrainer = Recorded
    program.get_strategy = lambda arguments: SimpleNamespace(
        print=say_nothing
    )  # the real one is slow to unpickle
    program.PolicyModelActor = program.ReferenceModelActor = vllm_engine.RolloutRayActor = actor_class
    arguments = hierarchize(openrlhf_parser().parse_args(recipe.argv()))
    arguments.algo.advantage.is_correction_threshold = [0.0, 1.0]
    arguments.critic.model_name_or_path = None
    program.train(arguments)
    _, _, actor, _, _, reference, engines, *_ = groups
    found: dict[str, dict[Any, list[str]]] = defaultdict(lambda: defaultdict(list))
    parts = {"actor": actor._actor_handlers, "engine": engines}
    if reference is not None:
        parts["reference"] = reference._actor_handlers
    split = recipe.get("vllm.tensor_parallel_size") > 1
    for part, handles in parts.items():
        places = ray.get([handle.where.remote() for handle in handles])
        for rank, (node, gpus, group, bundles) in enumerate(places):
            if not split:
                (gpu,) = gpus
                found[node][gpu].append(part)
                continue
            # An engine of several GPUs holds none itself: vLLM's workers take its bundles. So GPUs are known by bundles.
            table = placement_group_table()[group]["bundles_to_node_id"]
            for bundle in [rank] if bundles is None else bundles:
                found[table[bundle]][f"{group}{bundle}"].append(part)
    if recipe.watcher_on_ray and recipe.watch.when == "during":
        task = ray.remote(lambda: (ray.get_runtime_context().get_node_id(), ray.get_gpu_ids()[0]))
        task = task.options(num_gpus=recipe.watch.num_gpus, num_cpus=recipe.watch.num_cpus).remote()
        if ray.wait([task], timeout=20)[0]:
            node, gpu = ray.get(task)
            found[node][gpu].append("watcher")
    return [sorted("+".join(sorted(gpu)) for gpu in node.values()) for node in found.values()]


if __name__ == "__main__":
    loaded = load_recipe(sys.argv[1], parse_overrides(sys.argv[2:]))
    print("PLACED " + json.dumps(sorted(run(loaded, needs_of(loaded).layout))))
