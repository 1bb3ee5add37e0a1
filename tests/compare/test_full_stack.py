"""A run on the full stack: the recipe that it writes, and how its metrics become the steps of a comparison."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from dipo_openrlhf.compare.cell import cell_of
from dipo_openrlhf.compare.full_stack import told, write_recipe
from dipo_openrlhf.compare.spec import Comparison
from dipo_openrlhf.preflight.suites import check_suites
from dipo_openrlhf.recipe.load import load_recipe


@pytest.fixture
def cell(small_task):
    comparison = Comparison.model_validate(
        {
            "tasks": [small_task],
            "methods": {"strong": {"method": "dipo", "alpha": 0.3, "lr": 2e-3}},
            "stack": "openrlhf",
            "budget_tokens": 5000,
            "train": {"prompts_per_step": 8, "n_samples_per_prompt": 4, "prompts": 64},
        }
    )
    return cell_of(comparison, small_task, comparison.entry("strong"), 3, "model")


def test_its_recipe_is_one_with_the_cells_settings(cell, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"max_position_embeddings": 48}))
    recipe = load_recipe(str(write_recipe(cell, model, tmp_path)))
    check_suites(recipe)
    assert (recipe.dipo.method, recipe.dipo.alpha) == ("dipo", 0.3)
    assert recipe.get("actor.adam.lr") == 2e-3
    assert recipe.get("train.seed") == 3
    assert recipe.get("rollout.batch_size") == 8
    assert recipe.get("train.batch_size") == 32
    rows = [json.loads(line) for line in (tmp_path / "prompts.jsonl").read_text().splitlines()]
    assert len(rows) == 64
    assert rows[0]["input"][0]["role"] == "user"


def test_the_report_has_what_it_reads_of_a_step(cell):
    row = {"throughput/generated_tokens": 400, "dipo/groups_hard": 3.0, "dipo/groups_easy": 1.0}
    row["dipo/groups_normal"] = 4.0
    (plain,) = told([row], cell)
    assert (plain["responses"], plain["sampled_responses"]) == (32.0, 32.0)
    (refilled,) = told([{**row, "refill/groups_sampled": 16.0}], cell)
    assert (refilled["responses"], refilled["sampled_responses"]) == (32.0, 64.0)


def test_steps_end_where_the_budget_is_reached(cell):
    rows = [
        {"step": i, "throughput/generated_tokens": 400, "dipo/zero_gradient_share": 0.5, "reward": 0.25}
        for i in range(5)
    ]
    steps = told([{"step": 0}, *rows], replace(cell, budget_tokens=1000))
    assert [step["tokens"] for step in steps] == [400, 800, 1200]
    assert steps[0]["zero_gradient_share"] == 0.5
    assert steps[0]["accuracy"] == 0.25
