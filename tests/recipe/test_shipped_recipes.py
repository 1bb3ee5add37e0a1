"""Every shipped recipe, in every variant, passes OpenRLHF's own parser and validation and fits its cluster.

The statements under `if __name__ == "__main__"` of openrlhf/cli/train_ppo_ray.py are run as they are, with a `train`
that starts nothing.
"""

from __future__ import annotations

import builtins
import functools
import importlib.util
import itertools
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from dipo_eval.suites import get_suites
from dipo_openrlhf.cli import app
from dipo_openrlhf.estimate.memory import disk_bytes, engine
from dipo_openrlhf.estimate.options import Assumptions
from dipo_openrlhf.estimate.step_time import step_time
from dipo_openrlhf.estimate.workload import workload_of
from dipo_openrlhf.recipe import files as recipe_files
from dipo_openrlhf.recipe.files import BUILT_IN, recipe_names, variant_names
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.placement import placement, shares_gpus
from dipo_openrlhf.recipe.recipe import Recipe

PAPER = [name for name in recipe_names() if not name.startswith("quickstart") and "lora" not in name]
METHODS = [
    "", "dapo", "grpo", "psd_off", "hard_only", "easy_only", "random_pick", "alpha_0.01", "alpha_1.0", "lora",
]  # fmt: skip
CLUSTERS = ["", "4x8"]
LONG = [f"{name}+response_20k" for name in PAPER if name.startswith("math")]
PLAIN = [f"{name}+no_flash_attn" for name in PAPER]
ASYNC = [
    "+".join(part for part in ("math_qwen3_8b", method, cluster, "async") if part)
    for method, cluster in itertools.product(
        [one for one in METHODS if one not in ("dapo", "lora")], CLUSTERS
    )
]
NAMES = [
    "+".join(part for part in parts if part)
    for parts in [
        *itertools.product(PAPER, METHODS, CLUSTERS),
        *itertools.product(LONG, [""], CLUSTERS),
        *itertools.product(PLAIN, [""], CLUSTERS),
    ]
] + ASYNC


@pytest.fixture(autouse=True)
def read_once(monkeypatch):
    """The same few files make up all recipes."""
    monkeypatch.setattr(recipe_files, "read_settings", _read_settings)


_read_settings = functools.cache(recipe_files.read_settings)


def loaded(name: str) -> tuple[Recipe, list[str]]:
    """(the recipe, its command line)."""
    recipe = load_recipe(name)
    return recipe, recipe.argv()


@functools.cache
def _main_block() -> tuple[CodeType, Path]:
    import ast

    spec = importlib.util.find_spec("openrlhf")
    assert spec is not None
    assert spec.submodule_search_locations
    root = Path(spec.submodule_search_locations[0])
    path = root / "cli" / "train_ppo_ray.py"
    (block,) = [
        node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)
    ]
    return compile(ast.Module(block.body, []), str(path), "exec"), root


@functools.cache
def _config_module() -> ModuleType:
    """openrlhf/utils/config.py by itself: its package imports DeepSpeed, which takes seconds."""
    path = _main_block()[1] / "utils" / "config.py"
    spec = importlib.util.spec_from_file_location("openrlhf_config", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def validated(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """OpenRLHF's arguments after its own validation. Raises what it raises."""
    import argparse
    from datetime import datetime

    def importer(name: str, *rest: Any) -> Any:
        return _config_module() if name == "openrlhf.utils.config" else builtins.__import__(name, *rest)

    started: list[Any] = []
    scope = {
        "__builtins__": {**vars(builtins), "__import__": importer},
        "argparse": argparse,
        "datetime": datetime,
        "train": started.append,
    }
    monkeypatch.setattr(sys, "argv", ["train_ppo_ray", *argv])
    exec(_main_block()[0], scope)
    (arguments,) = started
    return arguments


def test_recipes_and_variants_are_listed():
    assert len(NAMES) == 7 * 10 * 2 + 3 * 2 + 7 * 2 + 8 * 2 == len(set(NAMES))
    assert set(PAPER) <= set(recipe_names())
    used = {part for name in NAMES for part in name.split("+")[1:]}
    assert used == set(variant_names()), "a variant that no test loads"


@pytest.mark.parametrize("name", NAMES)
def test_openrlhf_accepts_it_and_it_fits_its_cluster(name, monkeypatch, capsys):
    recipe, argv = loaded(name)
    arguments = validated(argv, monkeypatch)
    assert "[Warning]" not in capsys.readouterr().out, "OpenRLHF would change something silently"
    gpus = recipe.run.nodes * recipe.run.gpus_per_node
    assert gpus == (32 if "4x8" in name else 8)
    actor = arguments.actor.num_nodes * arguments.actor.num_gpus_per_node
    engines = arguments.vllm.num_engines * arguments.vllm.tensor_parallel_size
    if "async" in name:
        assert not arguments.vllm.enable_sleep
        assert actor == engines == gpus / 2
    else:
        assert arguments.vllm.enable_sleep
        assert actor == engines == gpus, "openrlhf/cli/train_ppo_ray.py, train"
    assert placement(recipe).total <= gpus
    assert shares_gpus(recipe) is ("async" not in name)
    # What the optimizer gets: complete updates, and as many samples on each rank.
    samples = arguments.rollout.batch_size * arguments.rollout.n_samples_per_prompt
    assert samples % arguments.train.batch_size == 0
    assert arguments.train.batch_size % actor == 0
    assert arguments.train.max_tokens_per_gpu >= arguments.data.max_len
    if arguments.train.agent_func_path:  # an episode of several messages
        assert arguments.data.max_len == 12 * arguments.rollout.max_new_tokens
    else:
        assert arguments.data.max_len == 2048 + arguments.rollout.max_new_tokens


SLOWEST = [
    "+".join(part for part in parts if part)
    for parts in [
        *itertools.product(PAPER, ["", "dapo"], CLUSTERS),
        *itertools.product(LONG, ["", "dapo"], CLUSTERS),
    ]
] + ASYNC


@pytest.mark.parametrize("name", SLOWEST)
def test_its_time_limits_are_above_what_doctor_estimates(name):
    recipe, assume = load_recipe(name), Assumptions()
    work = workload_of(recipe, assume)
    step = step_time(work, assume, max(1, engine(work, assume).mean)).total
    assert recipe.run.step_timeout >= 2 * step
    slow = 20e6  # B/s of a download; and 20 minutes to load, compile and capture CUDA graphs
    assert recipe.start_timeout >= 2 * work.shape.parameters / slow + 1200
    if not {"dapo", "async"} <= set(name.split("+")):  # several hours a step
        saving = disk_bytes(replace(work, checkpoints=1)).value / 0.5e9
        assert recipe.save_before >= step + saving


def test_validation_is_openrlhfs_own(monkeypatch):
    """The control: what OpenRLHF refuses is refused here."""
    argv = load_recipe("math_qwen3_4b").argv()
    with pytest.raises(AssertionError, match=r"Async RLHF is not supported with --vllm\.enable_sleep"):
        validated([*argv, "--train.async_enable"], monkeypatch)
    with pytest.raises(AssertionError, match="number of sample batches"):
        validated([*argv, "--rollout.micro_batch_size", "2048"], monkeypatch)


@pytest.mark.parametrize("name", PAPER)
def test_what_a_recipe_means(name):
    recipe = load_recipe(name)
    assert recipe.dipo.method == "dipo"
    assert recipe.dipo.alpha == 0.1
    assert recipe.get("algo.kl.init_coef") == 0
    assert recipe.get("algo.dynamic_filtering_enable") is False
    agent, reward = recipe.get("train.agent_func_path"), recipe.get("reward.remote_url")
    if "multi_turn" in name:
        assert Path(agent).stem == "tool_agent"
        assert not recipe.get("data.apply_chat_template")
        assert recipe.evaluate.suites == ["bfcl-heldout"], (
            "its other numbers would be of what it is trained on"
        )
    else:
        assert Path(reward).stem == ("math" if name.startswith("math") else "function_call")
    assert [suite.name for suite in get_suites(recipe.evaluate.suites)] == recipe.evaluate.suites
    assert recipe.name == name


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("psd_off", {"psd": False}),
        ("hard_only", {"directions": "hard_only"}),
        ("easy_only", {"directions": "easy_only"}),
        ("random_pick", {"pick": "random"}),
        ("alpha_0.01", {"alpha": 0.01}),
        ("alpha_1.0", {"alpha": 1.0}),
        ("dapo", {"method": "dapo", "refill_cap": 2.0}),
        ("grpo", {"method": "grpo"}),
        ("lora", {}),
    ],
)
def test_a_variant_changes_its_own_keys_and_nothing_else(variant, expected):
    base, varied = load_recipe("math_qwen3_4b"), load_recipe(f"math_qwen3_4b+{variant}")
    before, after = base.dipo.to_dict(), varied.dipo.to_dict()
    assert {key: value for key, value in after.items() if before[key] != value} == expected
    changed = {
        key
        for key in base.openrlhf.keys() | varied.openrlhf.keys()
        if base.openrlhf.get(key) != varied.openrlhf.get(key) and key not in ("ckpt.path", "ckpt.output_dir")
    }
    expected_keys = {
        "grpo": {"actor.eps_clip_low_high", "actor.loss_agg_mode", "reward.overlong_buffer_len"},
        "lora": {
            "ds.lora.rank", "ds.lora.alpha", "ds.enable_sleep", "actor.adam.lr",
            "algo.advantage.is_correction_level",
        },
    }  # fmt: skip
    assert changed == expected_keys.get(variant, set())


def test_the_recipe_for_one_small_gpu(monkeypatch, capsys):
    recipe, argv = loaded("math_qwen25_1.5b_lora")
    arguments = validated(argv, monkeypatch)
    assert "[Warning]" not in capsys.readouterr().out
    assert recipe.run.nodes * recipe.run.gpus_per_node == placement(recipe).total == 1
    assert arguments.vllm.num_engines == arguments.actor.num_nodes * arguments.actor.num_gpus_per_node == 1
    assert arguments.ds.lora.rank == arguments.ds.lora.alpha == 32
    assert arguments.ds.lora.target_modules == "all-linear"
    assert arguments.actor.adam.lr == pytest.approx(10 * load_recipe("math_qwen3_4b").get("actor.adam.lr"))
    assert (
        arguments.rollout.batch_size * arguments.rollout.n_samples_per_prompt
        == 4 * arguments.train.batch_size
    )
    assert arguments.train.max_tokens_per_gpu == arguments.data.max_len
    assert [suite.name for suite in get_suites(recipe.evaluate.suites)] == ["math500"]


def test_every_value_of_a_task_names_its_source():
    for part in ("math", "tools", "tools_multi_turn"):
        text = (BUILT_IN / "parts" / f"{part}.yaml").read_text()
        plain = {"method", "input_key", "label_key", "remote_url", "init_coef", "agent_func_path"}
        for line in text.splitlines():
            key, _, value = line.strip().partition(": ")
            if line.startswith(" ") and value and key not in plain:
                marks = ("[paper]", "[DAPO]", "[ToolRL]", "[ours]")
                assert any(mark in line for mark in marks), f"{part}: {line}"
        assert yaml.safe_load(text)["dipo"] == {"method": "dipo", "alpha": 0.1}


DOCUMENT = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", re.findall(r"^dipo train [^#\n]*--dry-run", DOCUMENT, re.MULTILINE))
def test_a_documented_command_translates(command):
    result = CliRunner().invoke(app, shlex.split(command)[1:], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "python -m openrlhf.cli.train_ppo_ray" in result.output


def test_the_documented_estimate_is_what_is_printed():
    ((command, printed),) = re.findall(
        r"```bash\n(dipo doctor [^\n]*)\n```\n\n```text\n(.*?)```", DOCUMENT, re.DOTALL
    )
    result = CliRunner().invoke(app, shlex.split(command)[1:], catch_exceptions=False)
    without_gpu = "this machine has no NVIDIA device: only the estimate above\n"
    assert result.output.removesuffix(without_gpu) == printed


def test_the_document_lists_what_is_shipped(tmp_path, monkeypatch):
    for name in [*PAPER, "math_qwen25_1.5b_lora", *(f"+{variant}" for variant in variant_names())]:
        assert f"`{name}`" in DOCUMENT
    ((text),) = re.findall(r"```yaml\n# my_ablation.yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("my_ablation.yaml").write_text(text)
    recipe = load_recipe("my_ablation.yaml")
    assert recipe.name == "my_ablation"
    assert recipe.get("vllm.num_engines") == 32
