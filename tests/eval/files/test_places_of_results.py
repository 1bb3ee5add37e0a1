"""No command writes over a stored result, a recipe or a model that is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dipo_eval.errors import UserError
from dipo_eval.files.places import check_can_write
from dipo_openrlhf.cli import app
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.yaml_lines import parse_overrides
from dipo_openrlhf.rehearse.prepare import prepare
from dipo_openrlhf.run.resuming import check_run_dir


@pytest.mark.parametrize("name", ["results.json", "samples.jsonl", "samples.jsonl.zst"])
def test_a_part_of_a_stored_result_is_no_file_to_write(tmp_path: Path, name: str) -> None:
    for each in ("results.json", name):
        (tmp_path / each).write_text("{}")
    with pytest.raises(UserError, match=r"--out '.*': is part of a stored result; name another file"):
        check_can_write(tmp_path / name, "--out")
    check_can_write(tmp_path / "verdicts.jsonl", "--out")


def test_the_samples_that_are_graded_are_not_replaced(tmp_path: Path) -> None:
    samples = tmp_path / "mine.jsonl"
    samples.write_text(json.dumps({"response": r"\boxed{5}", "gold": "5", "status": "correct"}) + "\n")
    before = samples.read_bytes()
    outcome = CliRunner().invoke(app, ["grade", str(samples), "--suite", "math", "--out", str(samples)])
    assert isinstance(outcome.exception, UserError)
    assert "is the file that is graded" in str(outcome.exception)
    assert samples.read_bytes() == before


def test_a_recipe_is_not_replaced_by_the_record_of_its_run(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"extends: quickstart\nactor: {{model_name_or_path: m}}\ndata: {{prompt_dataset: {tmp_path}/p.jsonl}}\n"
    )
    loaded = load_recipe(str(recipe), parse_overrides(["--run.dir", str(tmp_path)]))
    with pytest.raises(UserError, match="would replace the recipe: rename it, or choose another folder"):
        check_run_dir(loaded, tmp_path, resume=False)
    check_run_dir(loaded, tmp_path / "runs", resume=False)


@pytest.mark.parametrize("name", ["model", "prompts.jsonl"])
def test_a_rehearsal_replaces_no_file_of_the_user(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(
        UserError, match=f"{name}: is there already, and would be replaced: name another --folder"
    ):
        prepare("math_qwen3_4b", {}, tmp_path)
    assert (tmp_path / name).read_text() == "mine"
