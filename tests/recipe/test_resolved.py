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


def test_a_runs_own_record_is_no_recipe(tmp_path):
    record = tmp_path / "recipe.yaml"
    record.write_text("name: x\nsource: mine.yaml\nhash: ab\ndata_sha256: cd\nsettings: {a: 1}\n")
    with pytest.raises(
        UserError, match=r"is the record of a run, not a recipe: start .* made of, mine\.yaml"
    ):
        load_recipe(str(record))
