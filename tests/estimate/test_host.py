"""Cores and memory of a node, by hand, and what a pod requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.estimate.host import cores, host_memory, least_cores, processes
from dipo_openrlhf.estimate.memory import host_bytes
from dipo_openrlhf.estimate.options import Assumptions
from dipo_openrlhf.estimate.pinned import rounding
from dipo_openrlhf.estimate.workload import GIB, workload_of
from dipo_openrlhf.launchers.pod_size import pod_size, quantity_bytes
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.placement import needs_of
from dipo_openrlhf.recipe.yaml_lines import parse_overrides

ASSUME = Assumptions()


def test_a_node_of_eight_ranks_and_engines():
    recipe = load_recipe("math_qwen3_8b")
    where = needs_of(recipe).layout
    # 8 ranks, 8 engines of two processes, 4 others; 64 graders of half a core
    assert processes(recipe, where).number == 8 + 16 + 4
    assert cores(recipe, where).value == 28 + 32
    assert least_cores(recipe, where) == 8 + 1 + 1  # GPUs, the trainer, the watcher after the training
    work = workload_of(recipe, ASSUME)
    memory = host_memory(recipe, where, work, ASSUME)
    by_hand = 28 * 5 * GIB + 64 * 0.25 * GIB + 8_192 * 10_240 * 120 + 2 * work.shape.parameters
    assert memory.total.value == pytest.approx(host_bytes(work).value + rounding(work).value + by_hand)


def test_the_fullest_of_unequal_nodes_counts():
    """Two nodes with engines, two with the actor: pods are alike, so each is sized for the engines' graders."""
    recipe = load_recipe("math_qwen3_8b+async+4x8")
    where = needs_of(recipe).layout
    assert cores(recipe, where).value == 8 * 2 + 32 + 4
    assert least_cores(recipe, where) == 10


def test_what_sleeps_is_counted_on_the_node_that_has_most_of_the_actor():
    """Ray packs an actor of two nodes x 4 GPUs onto one node of 8."""
    words = ["--run.nodes", "2", "--actor.num_nodes", "2", "--actor.num_gpus_per_node", "4", "--ds.enable_sleep", "true",
             "--train.colocate_all", "false", "--vllm.enable_sleep", "false"]  # fmt: skip
    recipe = load_recipe("math_qwen3_8b", parse_overrides(words))
    work = workload_of(recipe, ASSUME)
    assert work.actor_gpus_per_node == 8
    assert "8 GPUs x (16 B x 8.19e9 / 8 of the training)" in host_bytes(work).how


def test_the_documented_pod():
    recipe = load_recipe("math_qwen3_8b")
    assert pod_size(recipe, needs_of(recipe), None, None, print) == (60, "480Gi")
    text = (Path(__file__).parents[2] / "docs" / "submit.md").read_text()
    assert "of `math_qwen3_8b` 60 cores and 480 GiB" in text


@pytest.mark.parametrize("name", ["math_qwen3_8b", "math_qwen25_7b"])
def test_a_pod_has_what_the_estimate_says(name):
    recipe, lines = load_recipe(name), []
    needs = needs_of(recipe)
    number, memory = pod_size(recipe, needs, None, None, lines.append)
    where = needs.layout
    assert number == cores(recipe, where).value
    estimate = host_memory(recipe, where, workload_of(recipe, ASSUME), ASSUME).total.value
    assert estimate <= quantity_bytes(memory) < estimate + 8 * GIB
    assert quantity_bytes(memory) > 227 * GIB
    assert not lines


def test_a_smaller_pod_is_warned_about_or_refused():
    recipe, lines = load_recipe("math_qwen3_8b"), []
    needs = needs_of(recipe)
    assert pod_size(recipe, needs, 16, "128Gi", lines.append) == (16, "128Gi")
    cpus, memory = lines
    assert cpus.startswith("--cpus 16 is below the estimate, 60: 8 ranks + 8 engines x 2 + 64 graders")
    assert memory.startswith("--memory 128Gi is below the estimate, ")
    assert "may be killed" in memory
    with pytest.raises(UserError, match=r"--cpus 9: .* at least 10, else the run waits forever"):
        pod_size(recipe, needs, 9, None, lines.append)
    with pytest.raises(UserError, match="--memory '128 GB'"):
        pod_size(recipe, needs, None, "128 GB", lines.append)


def test_a_model_that_is_not_known_here_needs_a_size():
    recipe = load_recipe("math_qwen3_8b", parse_overrides(["--actor.model_name_or_path", "/shared/model"]))
    needs = needs_of(recipe)
    with pytest.raises(
        UserError, match=r"--memory is missing, and cannot be estimated: actor\.model_name_or_path"
    ):
        pod_size(recipe, needs, None, None, print)
    assert pod_size(recipe, needs, None, "512Gi", print) == (60, "512Gi")


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("2k", 2e3), ("1.5Mi", 1.5 * 2**20), ("3G", 3e9), ("128Gi", 2**37), ("1Ti", 2**40)],
)
def test_quantities_of_kubernetes(text, size):
    assert quantity_bytes(text) == size
