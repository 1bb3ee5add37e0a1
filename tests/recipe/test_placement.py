"""One home for placement: what sits where, for every shipped recipe, against OpenRLHF's own code and for any sizes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dipo_eval.errors import UserError
from dipo_openrlhf.estimate.options import Assumptions
from dipo_openrlhf.estimate.workload import workload_of
from dipo_openrlhf.recipe.files import recipe_names, variant_names
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.placement import Layout, gpus_to_start, layout, needs_of, placement
from dipo_openrlhf.recipe.recipe import Recipe
from dipo_openrlhf.recipe.yaml_lines import parse_overrides
from dipo_openrlhf.run.plan import plan_run

SEPARATE = """\
run: {device: gpu}
actor: {model_name_or_path: some/model, num_gpus_per_node: 8}
data: {prompt_dataset: some/data}
rollout: {batch_size: 64, n_samples_per_prompt: 8}
train: {batch_size: 512, dynamic_batch_enable: true}
ds: {packing_samples: true}
"""


ONE_GPU = "math_qwen25_1.5b_lora"


def test_a_recipe_for_one_gpu_does_not_go_on_four_nodes_of_eight():
    with pytest.raises(UserError, match=f"4x8.yaml:3: 4x8 is sized for .*, not for {ONE_GPU}: set what you"):
        load_recipe(f"{ONE_GPU}+4x8")


def shipped() -> list[str]:
    """Every recipe for GPUs, alone and with each variant that goes with it, on one node and on four."""
    found = []
    for name in recipe_names():
        if name.startswith("quickstart"):
            continue
        for variant in ("", *variant_names()):
            for cluster in ("", "+4x8") if variant != "4x8" else ("",):
                whole = f"{name}+{variant}{cluster}" if variant else f"{name}{cluster}"
                try:
                    load_recipe(whole)
                except UserError:
                    # Sized for some of them: tests/estimate/test_estimate.py, and below.
                    assert variant == "async" or (name == ONE_GPU and "4x8" in whole)
                    continue
                found.append(whole)
    return found


SHIPPED = shipped()


def members(where: Layout) -> Counter[str]:
    return Counter(str(member) for node in where.nodes for gpu in node for member in gpu)


def shape(where: Layout) -> list[list[str]]:
    """The parts on each GPU, node by node, in no order: what does not depend on how Ray numbers nodes and bundles."""
    return sorted(
        sorted("+".join(sorted(member.part for member in gpu)) for gpu in node if gpu) for node in where.nodes
    )


def test_every_recipe_is_here():
    assert len(SHIPPED) >= 5 * 2 * (len(variant_names()) - 3)
    assert {part for name in SHIPPED for part in name.split("+")[1:]} == set(variant_names())


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_has_its_places(name):
    recipe = load_recipe(name)
    parts, needs = placement(recipe), needs_of(recipe)
    ranks, engines = (
        recipe.get("actor.num_nodes") * recipe.get("actor.num_gpus_per_node"),
        recipe.get("vllm.num_engines"),
    )
    assert members(needs.layout) == Counter(
        {
            **{f"actor {rank}": 1 for rank in range(ranks)},
            **{f"engine {engine}": recipe.get("vllm.tensor_parallel_size") for engine in range(engines)},
            **({"watcher": parts.watcher} if parts.watcher else {}),
        }
    )
    cluster = recipe.run.nodes * recipe.run.gpus_per_node
    assert needs.nodes * needs.gpus_per_node == needs.gpus == parts.total <= cluster
    assert needs.layout.waiting == 0
    assert not needs.layout.split_engines
    # Everyone else counts the same.
    assert plan_run(recipe).gpus == gpus_to_start(recipe) == parts.training
    work = workload_of(recipe, Assumptions()) if not recipe.get("ds.lora.rank") else None
    if work is not None:
        assert (work.actor_gpus, work.engines, work.engine_tp) == (ranks, engines, 1)
        assert work.actor_gpus_per_node == max(node["actor"] for node in needs.layout.parts_by_node)


def test_asynchronous_training_has_whole_nodes():
    """Not half of every node: Ray fills a node before it takes the next."""
    (one,) = needs_of(load_recipe("math_qwen3_8b+async")).layout.parts_by_node
    assert one == {"engine": 4, "actor": 4}
    four = needs_of(load_recipe("math_qwen3_8b+async+4x8")).layout.parts_by_node
    assert four == ({"engine": 8}, {"engine": 8}, {"actor": 8}, {"actor": 8})


def written(tmp_path: Path, *arguments: str) -> Recipe:
    path = tmp_path / "recipe.yaml"
    path.write_text(SEPARATE)
    return load_recipe(str(path), parse_overrides(list(arguments)))


def test_a_watcher_may_wait_for_the_end_of_the_training(tmp_path):
    """With the cluster full it waits in Ray's queue; only a training that waits for it needs its GPU."""
    full = ["--run.nodes", "2", "--vllm.num_engines", "8", "--evaluate.suites", "[gsm8k]"]
    needs = needs_of(written(tmp_path, *full))
    assert (needs.gpus, needs.nodes, needs.layout.waiting) == (16, 2, 1)
    with pytest.raises(
        UserError, match=r"are 16, but the recipe requires 17: actor 8 \+ engines 8 \+ watcher 1"
    ):
        written(tmp_path, *full, "--watch.wait", "true")


def test_nodes_have_the_size_that_the_recipe_names(tmp_path):
    """--gpus-per-node of `dipo submit` is for another size."""
    recipe = written(tmp_path, "--run.nodes", "4", "--run.gpus_per_node", "4", "--actor.num_nodes", "2",
                     "--actor.num_gpus_per_node", "4")  # fmt: skip
    needs = needs_of(recipe)
    assert (needs.nodes, needs.gpus_per_node) == (4, 4)
    assert needs.layout.parts_by_node == ({"engine": 4}, {"engine": 4}, {"actor": 4}, {"actor": 4})
    needs = needs_of(recipe, 8)
    assert (needs.nodes, needs.gpus_per_node) == (2, 8)


def test_an_engine_on_two_nodes_is_known(tmp_path):
    recipe = written(
        tmp_path, "--run.nodes", "3", "--vllm.tensor_parallel_size", "3", "--vllm.num_engines", "4"
    )
    assert needs_of(recipe).layout.split_engines == [2]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["engine 8", "actor 8"]),
        (["--train.colocate_all", "true"], ["actor 8 engine 8"]),
        (["--train.colocate_all", "true", "--train.async_enable", "true"], ["actor 8", "engine 8"]),
        (["--train.colocate_actor_ref", "true", "kl"], ["actor 8 reference 8", "engine 8"]),
        (["kl"], ["engine 8", "actor 8", "reference 8"]),
        (["--train.colocate_all", "true", "kl"], ["actor 8 engine 8 reference 8"]),
    ],
)
def test_the_groups_and_their_order(tmp_path, arguments, expected):
    """By hand from openrlhf/cli/train_ppo_ray.py, train: the shared group first, then engines, actor, reference."""
    kl = ["--dipo.method", "grpo", "--algo.kl.use_loss", "true", "--algo.kl.init_coef", "0.01"]
    words = [*(word for word in arguments if word != "kl"), *(kl if "kl" in arguments else [])]
    found = []
    for group in placement(written(tmp_path, "--vllm.num_engines", "8", *words)).groups:
        count = Counter(member.part for bundle in group.bundles for member in bundle)
        found.append(" ".join(f"{part} {count[part]}" for part in sorted(count)))
    assert found == expected


@settings(max_examples=150, deadline=None)
@given(data=st.data(), size=st.sampled_from([1, 2, 4, 8]))
def test_any_recipe_is_placed_whole_and_no_gpu_twice(data, size, tmp_path_factory):
    tp = data.draw(st.sampled_from([1, 2, 4]))
    shared, asynchronous = data.draw(st.booleans()), data.draw(st.booleans())
    engines = data.draw(st.integers(1, 6))
    ranks = tp * engines if shared and not asynchronous else data.draw(st.integers(1, 24))
    reference = data.draw(st.sampled_from([0, 1, 5]))
    words = ["--vllm.tensor_parallel_size", str(tp), "--vllm.num_engines", str(engines), "--run.gpus_per_node", str(size),
             "--actor.num_gpus_per_node", str(ranks), "--train.batch_size", str(ranks * 8),
             "--rollout.batch_size", str(ranks), "--train.colocate_all", str(shared).lower(),
             "--train.async_enable", str(asynchronous).lower()]  # fmt: skip
    if reference:
        words += ["--dipo.method", "grpo", "--algo.kl.use_loss", "true", "--algo.kl.init_coef", "0.01",
                  "--ref.num_gpus_per_node", str(ranks if shared else reference)]  # fmt: skip
    if data.draw(st.booleans()):
        words += [
            "--evaluate.suites",
            "[gsm8k]",
            "--watch.wait",
            data.draw(st.sampled_from(["true", "false"])),
        ]
    recipe = written(tmp_path_factory.getbasetemp(), *words)
    parts, needs = placement(recipe), needs_of(recipe)
    assert sum(parts.counts) == parts.total
    assert (
        needs.nodes * needs.gpus_per_node >= gpus_to_start(recipe) > (needs.nodes - 1) * needs.gpus_per_node
    )
    found = members(needs.layout)
    assert sum(found.values()) + needs.layout.waiting == sum(
        len(bundle) for group in parts.groups for bundle in group.bundles
    )
    assert all(found[f"engine {engine}"] == tp for engine in range(engines))
    assert all(found[f"actor {rank}"] == 1 for rank in range(ranks))
    for node in needs.layout.nodes:
        assert len(node) == needs.gpus_per_node
        for gpu in node:
            assert len({member.part for member in gpu}) == len(gpu) <= 1 + 2 * shared
    assert needs.layout == layout(parts, needs.nodes, needs.gpus_per_node)


ON_RAY = (
    ["math_qwen3_4b"],
    ["math_qwen25_1.5b_lora"],
    ["math_qwen25_1.5b_lora", "--run.nodes", "4", "--actor.num_nodes", "4"],
    ["math_qwen3_4b+4x8"],
    ["math_qwen3_8b+async"],
    ["math_qwen3_8b+4x8+async"],
    ["math_qwen3_8b+async", "--vllm.num_engines", "3", "--watch.when", "during"],
    ["math_qwen3_8b+4x8+async", "--vllm.num_engines", "15", "--watch.when", "during"],
    ["math_qwen3_4b", "--vllm.tensor_parallel_size", "4"],
    ["math_qwen3_4b+grpo", "--run.nodes", "2", "--run.gpus_per_node", "4", "--actor.num_gpus_per_node", "2",
     "--actor.num_nodes", "1", "--train.colocate_all", "false", "--vllm.enable_sleep", "false",
     "--vllm.tensor_parallel_size", "2", "--algo.kl.init_coef", "0.01", "--algo.kl.use_loss", "true",
     "--ref.num_gpus_per_node", "2", "--vllm.num_engines", "2"],
)  # fmt: skip


def test_every_shape_that_is_shipped_is_put_there():
    placed = [shape(needs_of(load_recipe(words[0])).layout) for words in ON_RAY if len(words) == 1]
    for name in SHIPPED:
        assert shape(needs_of(load_recipe(name)).layout) in placed, name


@pytest.mark.slow
@pytest.mark.parametrize("words", ON_RAY, ids=" ".join)
def test_openrlhf_puts_it_there(words):
    """openrlhf/cli/train_ppo_ray.py, train on a real Ray, in openrlhf_placement.py; nodes have the least cores named."""
    script = Path(__file__).with_name("openrlhf_placement.py")
    result = subprocess.run(
        [sys.executable, str(script), *words], capture_output=True, text=True, timeout=400
    )
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("PLACED ")] or [result.stderr]
    recipe = load_recipe(words[0], parse_overrides(words[1:]))
    assert json.loads(line.removeprefix("PLACED ")) == shape(needs_of(recipe).layout)
