"""What a check trains: prompts, rewards that make groups of every sort, the cluster recipes' structure."""

from __future__ import annotations

import json
from collections import Counter

from tiny_model import save_tiny_model

from dipo_openrlhf.gpu_check.device import measure
from dipo_openrlhf.gpu_check.prepare import control_recipe, main_recipe, prepare
from dipo_openrlhf.gpu_check.reward import LABELS, reward_func
from dipo_openrlhf.gpu_check.settings import CONTROL_LR, CONTROL_STEPS, STEPS, CheckSettings
from dipo_openrlhf.recipe.files import BUILT_IN
from dipo_openrlhf.recipe.yaml_lines import read_settings


def test_rewards_follow_the_label():
    responses = [f"What is 1 + 1? response {n}" for n in range(64)]
    scores = {
        label: reward_func(responses, ["What is 1 + 1?"] * 64, [label] * 64)["scores"]
        for label in ("wrong", "correct", "mixed")
    }
    assert set(map(float, scores["wrong"])) == {0.0}
    assert set(map(float, scores["correct"])) == {1.0}
    assert 16 < sum(map(float, scores["mixed"])) < 48
    assert reward_func(responses, [""] * 64, ["mixed"] * 64)["scores"] is not None


def test_prompts_are_different_and_of_every_sort(tmp_path):
    settings = CheckSettings(str(tmp_path), True, 2, str(save_tiny_model(tmp_path / "model")))
    prepare(settings)
    rows = [json.loads(line) for line in settings.prompts_file().read_text().splitlines()]
    assert len({row["input"] for row in rows}) == len(rows) == STEPS * settings.prompts
    counts = Counter(row["label"] for row in rows)
    assert counts["mixed"] > len(rows) / 2
    assert set(counts) == set(LABELS) == {"mixed", "wrong", "correct"}


def test_the_structure_is_that_of_the_cluster_recipes(tmp_path):
    """Every setting of parts/cluster holds in the check, but for the cluster's size and what is kept."""
    for cpu, gpus in ((True, 2), (False, 1)):
        settings = CheckSettings(str(tmp_path), cpu, gpus, str(tmp_path))
        settings.model_link().write_text(str(tmp_path))
        recipe = main_recipe(settings)
        shipped = read_settings(BUILT_IN / "parts" / "cluster.yaml")
        sized = {"actor.num_gpus_per_node", "ckpt.max_num"}
        for key, setting in shipped.items():
            if not key.startswith(("run.", "watch.")) and key not in sized:
                assert recipe.get(key) == setting.value, key
        assert recipe.get("actor.num_gpus_per_node") == recipe.get("vllm.num_engines") == gpus
        assert recipe.on_cpu is cpu


def test_the_control_differs_in_steps_and_learning_rate(tmp_path):
    settings = CheckSettings(str(tmp_path), True, 2, str(tmp_path))
    settings.model_link().write_text(str(tmp_path))
    main, control = main_recipe(settings).openrlhf, control_recipe(settings).openrlhf
    different = {key for key in main if main[key] != control[key]}
    assert different == {"actor.adam.lr", "data.max_samples", "ckpt.path", "ckpt.output_dir"}
    assert control["actor.adam.lr"] == CONTROL_LR
    assert control["data.max_samples"] == CONTROL_STEPS * settings.prompts


def test_the_device_is_measured():
    found = measure(cpu=True)
    assert set(found) == {"bandwidth_tbs"}, "a CPU has no memory of its own to copy to"
    assert 1e-4 < found["bandwidth_tbs"] < 10
