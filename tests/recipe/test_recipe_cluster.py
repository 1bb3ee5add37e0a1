"""A recipe that names its cluster gets as many engines as fit, and is refused where it does not fit."""

from __future__ import annotations

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.placement import placement, shares_gpus
from dipo_openrlhf.recipe.recipe import Recipe
from dipo_openrlhf.recipe.yaml_lines import parse_overrides

SEPARATE = """\
run: {device: gpu, nodes: 2, gpus_per_node: 8}
actor: {model_name_or_path: some/model, num_gpus_per_node: 8}
data: {prompt_dataset: some/data}
rollout: {batch_size: 8, n_samples_per_prompt: 4}
train: {batch_size: 32}
"""


@pytest.fixture
def load(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(SEPARATE)

    def loaded(*arguments: str) -> Recipe:
        return load_recipe(str(path), parse_overrides(list(arguments)))

    return loaded


@pytest.mark.parametrize(
    ("arguments", "engines", "parts"),
    [
        ([], 8, (8, 0, 8, 0)),
        (["--vllm.tensor_parallel_size", "2"], 4, (8, 0, 8, 0)),
        (["--vllm.tensor_parallel_size", "3"], 2, (8, 0, 6, 0)),
        (["--evaluate.suites", "[gsm8k]"], 7, (8, 0, 7, 1)),
        (["--evaluate.suites", "[gsm8k]", "--watch.when", "after"], 8, (8, 0, 8, 0)),
        (["--evaluate.suites", "[gsm8k]", "--watch.num_gpus", "0.5"], 7, (8, 0, 7, 1)),
        (["--train.colocate_all", "true"], 8, (8, 0, 0, 0)),
        (["--train.colocate_all", "true", "--actor.num_nodes", "2"], 16, (16, 0, 0, 0)),
        (["--vllm.num_engines", "2"], 2, (8, 0, 2, 0)),
        (
            ["--dipo.method", "grpo", "--algo.kl.use_loss", "true", "--algo.kl.init_coef", "0.01",
             "--ref.num_gpus_per_node", "4"],
            4, (8, 4, 4, 0),
        ),
        (
            ["--dipo.method", "grpo", "--algo.kl.use_loss", "true", "--algo.kl.init_coef", "0.01",
             "--train.colocate_actor_ref", "true"],
            8, (8, 0, 8, 0),
        ),
    ],
)  # fmt: skip
def test_the_engines_are_what_fits(load, arguments, engines, parts):
    recipe = load(*arguments)
    assert recipe.get("vllm.num_engines") == engines
    assert placement(recipe).counts == parts
    assert shares_gpus(recipe) is bool(recipe.get("train.colocate_all"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--actor.num_nodes", "2"], ["recipe.yaml:1: run.nodes: 2 of 8", "leave none", "actor 16"]),
        (["--vllm.num_engines", "9"], ["are 16", "requires 17: actor 8 + engines 9"]),
        (["--actor.num_nodes", "4", "--vllm.num_engines", "1"], ["--actor.num_nodes", "4", "has 2"]),
        (["--actor.num_gpus_per_node", "16", "--vllm.num_engines", "1"], ["actor.num_gpus_per_node: 16"]),
        (["--vllm.tensor_parallel_size", "16", "--vllm.num_engines", "1"], ["tensor_parallel_size", "has 8"]),
        (
            ["--train.colocate_all", "true", "--vllm.num_engines", "4"],
            ["--vllm.num_engines: vllm.num_engines: 4", "4 must be the actor's GPUs, 8"],
        ),
        (
            ["--train.colocate_all", "true", "--actor.num_nodes", "2", "--dipo.method", "grpo",
             "--algo.kl.init_coef", "0.01", "--algo.kl.use_loss", "true"],
            ["default of OpenRLHF: ref.num_nodes: 1", "set it to actor.num_nodes, 2"],
        ),
        (
            ["--train.dynamic_batch_enable", "true", "--actor.num_gpus_per_node", "6"],
            ["train.batch_size", "multiple of the actor ranks, 6"],
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(load, arguments, words):
    with pytest.raises(UserError) as caught:
        load(*arguments)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_without_a_cluster_nothing_is_assumed(load):
    with pytest.raises(UserError, match=r"vllm\.num_engines is missing: set it, or run\.nodes"):
        load("--run.nodes", "0")
    assert load("--run.nodes", "0", "--vllm.num_engines", "100").get("vllm.num_engines") == 100


@pytest.mark.parametrize(
    ("arguments", "gpus"),
    [
        (["--train.colocate_all", "true"], 8),
        (["--vllm.tensor_parallel_size", "2"], 16),
        (["--evaluate.suites", "[gsm8k]"], 15),  # the watcher waits for the sixteenth in Ray's queue
    ],
)
def test_a_run_waits_for_the_gpus_of_its_training(load, arguments, gpus):
    from dipo_openrlhf.run.supervisor import plan_run

    assert plan_run(load(*arguments)).gpus == gpus
