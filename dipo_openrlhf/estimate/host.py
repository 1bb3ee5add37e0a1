"""Cores and memory of one node's host, for its processes and what they keep there. Pure functions.

What sleeps on the host is memory.host_bytes, in the blocks of pinned.py; this adds the processes, a step's samples in
Ray's object store, and the export of the model, which rank 0 gathers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dipo_eval.grading.pool import MAX_WORKERS as GRADERS
from dipo_openrlhf.estimate.memory import host_bytes
from dipo_openrlhf.estimate.options import Assumptions
from dipo_openrlhf.estimate.pinned import rounding
from dipo_openrlhf.estimate.workload import GIB, Line, Workload
from dipo_openrlhf.recipe.placement import ACTOR, ENGINE, REFERENCE, WATCHER, Layout
from dipo_openrlhf.recipe.recipe import Recipe

_ENGINE_PROCESSES = (
    2  # the actor that tokenizes and grades, and vLLM's own core; with tensor parallelism one a GPU more
)
_GRADER_CORES = 0.5  # of each: all of them are at work only when many answers end together
_OTHER_CORES = 4  # raylet, driver, the trainer's process, `dipo train`
# Ids and attention mask of 8 B, six tensors of 4 B: openrlhf/trainer/ppo_utils/experience.py, Experience.
_TOKEN_BYTES = 40
_COPIES = 3  # as sampled, as scored, and on the way to the actor's ranks


@dataclass(frozen=True)
class NodeProcesses:
    """What runs on one node: `ranks` of actor and reference, `engines` of `each` processes, graders, and others."""

    ranks: int
    engines: int
    each: int
    others: int

    @property
    def graders(self) -> int:
        return self.engines * GRADERS

    @property
    def number(self) -> int:
        """Large processes: all but the graders."""
        return self.ranks + self.engines * self.each + self.others

    @property
    def cores(self) -> int:
        return math.ceil(self.number + self.graders * _GRADER_CORES)


def processes(recipe: Recipe, layout: Layout) -> NodeProcesses:
    """Those of the node that has most of them."""
    tp = recipe.get("vllm.tensor_parallel_size")
    each = _ENGINE_PROCESSES + (tp if tp > 1 else 0)
    nodes = [
        NodeProcesses(
            node[ACTOR] + node[REFERENCE], math.ceil(node[ENGINE] / tp), each, node[WATCHER] + _OTHER_CORES
        )
        for node in layout.parts_by_node
    ]
    return max(nodes, key=lambda node: node.cores)


def least_cores(recipe: Recipe, layout: Layout) -> int:
    """Cores without which Ray would wait forever: one with each GPU, one for the trainer's start, and the watcher's.

    Sources: openrlhf/trainer/ray/launcher.py, RayActorGroup and openrlhf/trainer/ppo_trainer.py, PPOTrainer.
    """
    gpus = max(sum(1 for gpu in node if gpu) for node in layout.nodes)
    watcher = math.ceil(recipe.watch.num_cpus) if recipe.watcher_on_ray else 0
    return gpus + 1 + watcher


def cores(recipe: Recipe, layout: Layout) -> Line:
    """Cores that keep every process at work, on the node that needs most."""
    node = processes(recipe, layout)
    how = (
        f"{node.ranks} ranks + {node.engines} engines x {node.each} + {node.graders} graders x {_GRADER_CORES:g} + "
        f"{node.others} others"
    )
    return Line("CPU cores of each node", max(node.cores, least_cores(recipe, layout)), how)


@dataclass(frozen=True)
class HostMemory:
    """Memory of the fullest host, part by part."""

    lines: tuple[Line, ...]

    @property
    def total(self) -> Line:
        return Line("memory of each host", sum(line.value for line in self.lines), "the sum")


def host_memory(recipe: Recipe, layout: Layout, work: Workload, assume: Assumptions) -> HostMemory:
    """What a pod or a job has to be given."""
    node = processes(recipe, layout)
    number, graders = node.number, node.graders
    samples = work.prompts_a_step * work.group
    batch = float(samples * work.max_len * _TOKEN_BYTES * _COPIES)
    exported = 2.0 * work.shape.parameters
    lines = (
        host_bytes(work),
        rounding(work),
        Line("processes", number * assume.process_gib * GIB, f"{number} x {assume.process_gib:g} GiB (--process-gib)"),
        Line("graders", graders * assume.grader_gib * GIB, f"{graders} x {assume.grader_gib:g} GiB (--grader-gib)"),
        Line(
            "a step's samples", batch, f"{samples:,} x {work.max_len:,} tokens x {_TOKEN_BYTES} B x {_COPIES} copies"
        ),
        Line("the export, on rank 0's host", exported, f"2 B x {work.shape.parameters / 1e9:.2f}e9"),
    )  # fmt: skip
    return HostMemory(lines)
