"""No command writes over a stored result, a recipe or a model that is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dipo_eval.errors import UserError
from dipo_eval.files.places import check_can_write
from dipo_eval.results.store import check_not_stored
from dipo_openrlhf.cli import app
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.yaml_lines import parse_overrides
from dipo_openrlhf.rehearse.prepare import prepare
from dipo_openrlhf.run.resuming import check_run_dir


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A folder that looks like a stored result."""
    for name in ("results.json", "samples.jsonl"):
        (tmp_path / name).write_text("{}")
    return tmp_path


@pytest.mark.parametrize("name", ["results.json", "samples.jsonl"])
@pytest.mark.parametrize(
    "command",
    [
        ["grade", "{folder}", "--out"],
        ["board", "--results", "{folder}", "--out", "{folder}/b.html", "--csv"],
        ["gate", "--results", "{folder}", "--candidate", "a", "--baseline", "b", "--json"],
    ],
    ids=["grade", "board", "gate"],
)
def test_a_part_of_a_stored_result_is_no_file_to_write(stored: Path, command: list[str], name: str) -> None:
    words = [word.format(folder=stored) for word in command]
    outcome = CliRunner().invoke(app, [*words, str(stored / name)])
    assert isinstance(outcome.exception, UserError)
    assert f"{stored / name}: is part of a stored result; name another file" in str(outcome.exception)
    assert (stored / name).read_text() == "{}"


def test_a_report_of_that_name_elsewhere_is_written_again(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{}")
    check_not_stored(tmp_path / "results.json", "--json")
    check_can_write(tmp_path / "results.json", "--json")


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
        UserError,
        match=f"{name}: is there already, and would be replaced: name another --folder, or remove it",
    ):
        prepare("math_qwen3_4b", {}, tmp_path)
    assert (tmp_path / name).read_text() == "mine"
