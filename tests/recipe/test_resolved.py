"""What holds is shown, with where it is written: two recipes that train differently never look the same."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from dipo_eval.errors import UserError
from dipo_openrlhf.cli import app
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.resolved import resolved_lines


def test_every_own_setting_is_there_with_its_place():
    lines = resolved_lines(load_recipe("math_qwen3_4b+alpha_1.0"))
    (alpha,) = [line for line in lines if line.startswith("dipo.alpha: ")]
    assert alpha.split() == ["dipo.alpha:", "1.0", "variants/alpha_1.0.yaml:3"]
    (psd,) = [line for line in lines if line.startswith("dipo.psd: ")]
    assert psd.split() == ["dipo.psd:", "true", "default"]
    assert any(line.startswith("evaluate.suites: ") for line in lines)


def test_methods_and_switches_never_look_the_same():
    shown = {
        name: "\n".join(resolved_lines(load_recipe(f"math_qwen3_4b{name}")))
        for name in ("", "+dapo", "+grpo", "+alpha_1.0", "+psd_off", "+hard_only")
    }
    assert len(set(shown.values())) == len(shown)


def test_on_the_command_line():
    output = (
        CliRunner().invoke(app, ["recipes", "--show", "math_qwen3_4b+dapo"], catch_exceptions=False).output
    )
    assert "dipo.method: dapo" in output
    assert "actor.adam.lr: 1e-06" in output
    with pytest.raises(UserError, match="no recipe 'math_qwen3_4'"):
        CliRunner().invoke(app, ["recipes", "--show", "math_qwen3_4"], catch_exceptions=False)


def dry(*words: str) -> list[str]:
    result = CliRunner().invoke(app, ["train", *words, "--dry-run"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_what_holds_stands_for_what_is_left_open(monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    lines = dry("math_qwen3_4b+dapo")
    for shown in (
        "run.name: math_qwen3_4b+dapo default", "run.dir: runs/math_qwen3_4b+dapo default",
        "dipo.alpha: 0.0 of dipo.method dapo", "run.start_timeout: 3600 default", "run.keep_exports: 2 default",
        "tracker wandb: on default: WANDB_API_KEY or WANDB_MODE asks for it", "tracker tensorboard: off default",
    ):  # fmt: skip
        assert f"# {shown}" in [" ".join(line.split()) for line in lines]


def test_the_printed_command_trains_with_the_method():
    """Pasted into a shell, all of a dry run's output is that one command."""
    for name in ("math_qwen3_4b", "math_qwen3_4b+dapo", "math_qwen3_4b+alpha_1.0"):
        lines = dry(name, "--run.dir", "runs/a b", "--run.max_restarts", "1")
        code = [line for line in lines if not line.startswith("#")]
        assert code == [f"dipo train {name} --run.dir 'runs/a b' --run.max_restarts 1"]
        assert "# python -m openrlhf.cli.train_ppo_ray \\" in lines


def test_a_runs_own_record_is_no_recipe(tmp_path):
    record = tmp_path / "recipe.yaml"
    record.write_text("name: x\nsource: mine.yaml\nhash: ab\ndata_sha256: cd\nsettings: {a: 1}\n")
    with pytest.raises(
        UserError, match=r"is the record of a run, not a recipe: start .* made of, mine\.yaml"
    ):
        load_recipe(str(record))
