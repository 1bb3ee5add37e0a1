"""docs/adding_an_environment.md: its code runs as it stands, and is as short as it says."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from dipo_eval.grading.calls.unread import Unread
from dipo_openrlhf.cli import app
from dipo_openrlhf.data.pantry import DATASET, write_prompts
from dipo_openrlhf.quickstart.lessons import lesson_named
from dipo_openrlhf.quickstart.lessons.lesson import PretrainSettings
from dipo_openrlhf.quickstart.lessons.pantry import LESSON
from dipo_openrlhf.quickstart.pretrain import new_model
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.yaml_lines import parse_overrides
from dipo_openrlhf.rewards.episode import ENDS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding_an_environment.md").read_text(encoding="utf-8")
TINY = PretrainSettings(hidden_size=32, layers=1, heads=1, key_value_heads=1, mlp_size=64)
T = runpy.run_path(str(ROOT / "tests" / "rewards" / "tool_episodes.py"))


def block(language: str) -> str:
    """The first of that language."""
    return str(re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[0])


@pytest.fixture(scope="module")
def executor(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("page") / "my_number.py"
    path.write_text(block("python"))
    made = runpy.run_path(str(path))["AgentExecutor"]()
    yield made
    made.episodes.close()


def test_it_takes_thirty_lines() -> None:
    assert len([line for line in block("python").splitlines() if line.strip()]) <= 30


@pytest.mark.parametrize(
    ("guesses", "answer", "reward"),
    [([50, 25, 37], "It is 37", 1.0), ([50, 25, 37], "It is 3", 0.0), ([1, 2, 3, 4, 5, 6, 7, 37], "37", 0.0)],
)
def test_its_code_plays_its_row(executor: Any, guesses: list[int], answer: str, reward: float) -> None:
    row = json.loads(block("json"))
    used = T["tokenizer"]()
    engine = T["Engine"](used, [*(T["call"]("guess", number=one) for one in guesses), answer])
    found = asyncio.run(executor.execute(row["input"], row["label"], T["params"](), 100_000, used, engine))
    assert (found["reward"], found["scores"]) == (reward, reward)
    shown = used.decode(engine.prompts[2])
    assert "lower" in shown or "higher" in shown
    assert "Say whether the hidden number is lower" in shown


def test_its_recipe_has_openrlhfs_keys() -> None:
    keys = yaml.safe_load(block("yaml"))
    assert keys["data"]["apply_chat_template"] is False
    assert keys["train"]["agent_func_path"] == "my_number.py"


def test_it_names_every_end() -> None:
    (line,) = [line for line in PAGE.splitlines() if line.startswith("| `episode/ended/*`")]
    assert re.findall(r"`(\w+)`", line.partition("|")[2].partition("|")[2]) == list(ENDS)


def test_it_and_the_metrics_name_every_reason_why_a_call_is_unread() -> None:
    reasons = [why.value for why in Unread]
    section = PAGE.partition("## Which calls are read")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == reasons
    metrics = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    (line,) = [line for line in metrics.splitlines() if line.startswith("| `calls/unread/*`")]
    assert re.findall(r"`(\w+)`", line) == reasons


def test_its_commands_train_the_pantry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as a command goes before it trains: the rows fill whole steps, and the first episodes begin."""
    teach, data, train = map(shlex.split, block("bash").splitlines())
    assert importlib.util.find_spec(teach[2]) is not None
    assert lesson_named(teach[3]) is LESSON
    options = dict(zip(data[3::2], data[4::2], strict=True))
    monkeypatch.chdir(tmp_path)
    write_prompts(Path(options["--out"]), int(options["--limit"]), int(options["--seed"]))
    model = new_model(LESSON.build_tokenizer(), TINY)
    model.save_pretrained("model")
    LESSON.build_tokenizer().save_pretrained("model")
    words = [word.replace("FOLDER", "model") for word in train[1:]]
    done = CliRunner().invoke(app, [*words, "--dry-run"])
    assert done.exit_code == 0, done.output
    recipe = load_recipe(words[1], parse_overrides(words[2:]))
    assert int(options["--limit"]) % recipe.get("rollout.batch_size") == 0
    assert data[:3] == ["dipo", "data", DATASET.name]
