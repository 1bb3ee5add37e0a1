"""Which checkpoints are meant, and `dipo eval` on the command line."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from dipo_eval.cli import eval_command
from dipo_eval.errors import UserError
from dipo_eval.subject.checkpoints import default_run, find_checkpoints, is_whole, weights_hash


def test_checkpoints_of_a_run_come_in_step_order(models: Path, tmp_path: Path) -> None:
    found = find_checkpoints(str(models))
    assert [(c.name, c.step) for c in found] == [("global_step2", 2), ("global_step10", 10)]
    assert [c.name for c in find_checkpoints(str(models.parent))] == ["global_step2", "global_step10"]
    (single,) = find_checkpoints(str(models / "global_step10_hf"))
    assert (single.name, single.step) == ("global_step10", 10)
    run = models.parent.name  # the checkpoints of a run are in its folder "ckpt"
    assert default_run(str(models)) == run
    assert default_run(str(models / "global_step10_hf")) == run
    assert default_run("org/name") == "models"
    # An export that is being written has no weights yet, or not all of its shards.
    half = tmp_path / "ckpt" / "global_step3_hf"
    half.mkdir(parents=True)
    (half / "config.json").write_text("{}")
    with pytest.raises(UserError, match="neither"):
        find_checkpoints(str(half.parent))
    (half / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}'
    )
    (half / "1.safetensors").write_bytes(b"")
    assert not is_whole(half)
    (half / "2.safetensors").write_bytes(b"")
    assert [c.step for c in find_checkpoints(str(half.parent))] == [3]


@pytest.mark.parametrize("model", ["./nothing", "/nothing/here", "../up", "a b", "x/y/z"])
def test_a_path_that_is_not_there_is_no_hub_name(model: str) -> None:
    with pytest.raises(UserError, match="no such folder"):
        find_checkpoints(model)


def test_the_weights_hash_sees_weights_and_config(models: Path, tmp_path: Path) -> None:
    copy = tmp_path / "other_name"
    shutil.copytree(models / "global_step2_hf", copy)
    original = weights_hash(models / "global_step2_hf")
    assert weights_hash(copy) == original
    assert weights_hash(models / "global_step10_hf") != original
    (copy / "config.json").write_text((copy / "config.json").read_text() + "\n")
    assert weights_hash(copy) != original


def command(*arguments: str) -> Any:
    app = typer.Typer()
    app.command()(eval_command)
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "100"})


def test_the_command_line_explains_itself() -> None:
    shown = command("--help").output
    assert "dipo eval runs/quickstart/ckpt --suites arithmetic-control" in shown
    listed = command("--list").output
    assert "gsm8k" in listed
    assert "arithmetic-control" in listed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "no model"), (["m"], "no suite"), (["./none", "--suites", "gsm8k"], "no such folder")],
)
def test_the_command_line_reports_errors_in_one_line(arguments: list[str], message: str) -> None:
    result = command(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_the_command_line_evaluates_a_run(models: Path, tmp_path: Path, data: Path) -> None:
    arguments = [str(models), "--suites", "gsm8k,arithmetic-control", "--results", str(tmp_path / "out")]
    arguments += ["--engine", "hf", "--limit", "3", "--max-new-tokens", "6", "--data-dir", str(data)]
    result = command(*arguments)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert [line.split()[0] for line in lines if "gsm8k" in line] == ["global_step2", "global_step10"]
    assert len(list((tmp_path / "out" / models.parent.name).glob("*/*/results.json"))) == 4
    assert "4 of 4 already there" in command(*arguments).output
