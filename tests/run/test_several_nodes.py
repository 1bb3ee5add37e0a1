"""A recipe for several nodes joins a Ray cluster, and never starts a Ray of its own on one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.recipe import Recipe
from dipo_openrlhf.recipe.rehearsal import rehearsal
from dipo_openrlhf.recipe.yaml_lines import Setting, parse_overrides
from dipo_openrlhf.run.plan import check_ray, joins_cluster, plan_run


def loaded(name: str, *tokens: str) -> Recipe:
    return load_recipe(name, parse_overrides(list(tokens)))


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nor that of another test on this machine, whose address Ray keeps in the folder for temporary files."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_without_a_cluster_it_is_refused_in_one_line():
    with pytest.raises(
        UserError, match=r"4 nodes need a Ray cluster: .*run\.dir on storage that every node sees"
    ) as raised:
        check_ray(loaded("math_qwen3_4b+4x8"))
    assert "4x8.yaml:" in str(raised.value)
    assert "\n" not in str(raised.value)
    check_ray(loaded("math_qwen3_4b+4x8", "--run.ray", "cluster"))
    check_ray(loaded("math_qwen3_4b"))


def test_on_cpu_one_ray_has_the_simulated_gpus_of_all_nodes():
    small = rehearsal(loaded("math_qwen3_4b", "--run.device", "gpu"))
    check_ray(load_recipe("math_qwen3_4b", {key: Setting(value, "test") for key, value in small.items()}))


def test_the_cluster_of_ray_address_is_joined_with_all_checks(monkeypatch):
    """OpenRLHF would join it by itself, and nobody would ask its nodes for the run's files."""
    recipe = loaded("math_qwen3_4b+4x8")
    assert not joins_cluster(recipe)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert joins_cluster(recipe)
    check_ray(recipe)
    assert plan_run(recipe).cluster


def test_every_node_is_asked_for_what_is_read_from_disk(tmp_path, monkeypatch):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"input": "1 + 1?", "label": "2"}\n')
    recipe = loaded("math_qwen3_4b", "--data.prompt_dataset", str(prompts))
    files = plan_run(recipe).files
    assert files["data.prompt_dataset"] == str(prompts)
    assert files["reward.remote_url"].endswith("rewards/math.py")
    assert "actor.model_name_or_path" not in files, "a hub name"
