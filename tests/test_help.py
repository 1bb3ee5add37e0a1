"""The examples in the commands' own help texts are accepted as they stand."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dipo_openrlhf.cli import app
from dipo_openrlhf.gpu_check.cli import check_gpu_command
from dipo_openrlhf.gpu_check.prepare import main_recipe
from dipo_openrlhf.gpu_check.settings import CheckSettings
from dipo_openrlhf.launchers.cli import submit_command
from dipo_openrlhf.recipe.files import find_recipe
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.yaml_lines import parse_overrides
from dipo_openrlhf.rehearse.cli import rehearse_command
from dipo_openrlhf.run.cli import train_command

README = Path(__file__).parent.parent / "README.md"


def examples(command) -> list[list[str]]:
    """The words after `dipo` of each example in a command's docstring."""
    found = re.findall(r"^ +dipo (.*)$", command.__doc__, re.MULTILINE)
    assert found
    return [shlex.split(line) for line in found]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the README's own recipe."""
    (text,) = re.findall(r"```yaml\n(# my_recipe.yaml.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "my_recipe.yaml").write_text(text)
    (tmp_path / "data").mkdir()
    row = {"input": "Tom has 12 apples and buys 7 more. How many does he have?", "label": "19"}
    (tmp_path / "data" / "train.jsonl").write_text(f"{json.dumps(row)}\n" * 128)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def dry(words: list[str]) -> str:
    result = CliRunner().invoke(
        app, [*(w for w in words if w != "--dry-run"), "--dry-run"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result.output


def test_train(here):
    (words,) = examples(train_command)
    assert "--actor.adam.lr 5e-07" in dry(words)


def test_submit(here):
    sent = [words for words in examples(submit_command) if "my_recipe.yaml" in words]
    assert len(sent) == 2
    for words in sent:
        assert "my_recipe.yaml" in dry(words)


def test_rehearse(here):
    named = [words for words in examples(rehearse_command) if words[0] == "rehearse"]
    for _, name, *rest in named:
        find_recipe(name)
        load_recipe(name, parse_overrides([word for word in rest if word != "--write-only"]))


def test_check_gpu_without_flash_attn(tmp_path):
    (words,) = examples(check_gpu_command)
    values = {key: one.value for key, one in parse_overrides(words[1:]).items()}
    settings = CheckSettings(str(tmp_path), False, 1, str(tmp_path), overrides=values)
    settings.model_link().write_text(str(tmp_path))
    recipe = main_recipe(settings)
    assert recipe.get("ds.attn_implementation") == "sdpa"
    assert not recipe.get("ds.packing_samples")
    assert not recipe.get("train.dynamic_batch_enable")
