"""`dipo rehearse --write-only`: what it writes is a recipe that runs the given one, with problems its model can solve."""

from __future__ import annotations

import importlib
import json
import random
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoTokenizer
from typer.testing import CliRunner

from dipo_eval.errors import UserError
from dipo_eval.grading.calls.messages import step_calls
from dipo_eval.suites import get_suites
from dipo_openrlhf.cli import app
from dipo_openrlhf.environments.pantry import Pantry
from dipo_openrlhf.preflight.check import check_data
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.yaml_lines import parse_overrides
from dipo_openrlhf.rehearse import tasks
from dipo_openrlhf.rehearse.prepare import prepare

KINDS = ("math", "function_call")


@pytest.mark.parametrize("kind", KINDS)
def test_the_recipes_own_reward_grades_the_demonstrations(kind):
    reward = importlib.import_module(f"dipo_openrlhf.rewards.{kind}").reward_func
    rng = random.Random(0)
    for problem in tasks.problems(kind, 16):
        labels = [problem.label] * 2
        scores = reward([problem.right(rng), problem.wrong(rng)], ["", ""], labels)["scores"]
        assert [float(score) for score in scores] == [1.0, 0.0]
        assert problem.right(rng) in problem.answers


def test_the_environment_rewards_the_demonstrations_of_an_agent():
    rng = random.Random(0)
    for problem in tasks.problems("tool_agent", 16):
        for said, reward in ((problem.right(rng), 1.0), (problem.wrong(rng), 0.0)):
            pantry = Pantry(json.loads(problem.label))
            pantry.run(step_calls(said, official=False))
            assert pantry.reward("Done.") == reward
        assert problem.right(rng) in problem.answers
    played = [text for problem, text in islice(tasks.demonstrations(tasks.problems("tool_agent", 4), 0), 20)]
    assert all(text.endswith("assistant\nDone.") and text.count("<tool_call>") == 1 for text in played)


@pytest.mark.parametrize("kind", [*KINDS, "tool_agent"])
def test_the_suite_grades_the_same(kind, tmp_path):
    problems = tasks.problems(kind, 8)
    (suite,) = get_suites([str(tasks.write_suite(tmp_path, problems, kind))])
    items = suite.load(None, None, 0)
    rng = random.Random(0)
    for item, problem in zip(items, problems, strict=True):
        assert item.messages == problem.messages
        assert suite.grade(problem.right(rng), item).status == "correct"
        assert suite.grade(problem.wrong(rng), item).status == "wrong"


@pytest.mark.parametrize(
    ("name", "family", "tied"),
    [
        ("math_qwen3_4b", "qwen3", True),
        ("math_qwen3_8b+async", "qwen3", False),
        ("tools_qwen25_7b", "qwen2", False),
        ("tools_llama31_8b", "llama", False),
        ("tools_multi_turn_qwen3_4b", "qwen3", True),
    ],
)
def test_a_rehearsal_is_written_once_and_every_prompt_fits(name, family, tied, tmp_path):
    folder = tmp_path / "rehearsal"
    done = CliRunner().invoke(
        app, ["rehearse", name, "--folder", str(folder), "--write-only"], catch_exceptions=False
    )
    assert done.exit_code == 0
    recipe = load_recipe(str(folder / "rehearsal.yaml"))
    assert recipe.name == f"rehearsal-{name}"
    assert recipe.on_cpu
    check_data(recipe, pytest.fail)
    config = AutoConfig.from_pretrained(folder / "model")
    assert (config.model_type, config.tie_word_embeddings) == (family, tied)
    tokenizer = AutoTokenizer.from_pretrained(folder / "model", trust_remote_code=True)
    rng = random.Random(1)
    for problem in tasks.problems(tasks.kind_of(recipe), 16):
        tokens = tokenizer(problem.right(rng), add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(tokens) in problem.answers
        assert len(tokens) < recipe.get("rollout.max_new_tokens")
    with pytest.raises(UserError, match=r"is there already: run it with dipo train \S+rehearsal.yaml, or"):
        prepare(name, {}, folder)
    state = folder / "run" / "ckpt" / "_actor" / "global_step2"
    state.mkdir(parents=True)
    export = folder / "run" / "ckpt" / "global_step2_hf"
    export.mkdir()
    (export / "COMPLETE.json").write_text('{"step": 2}')
    with pytest.raises(UserError, match=r"is there already: continue with dipo train \S+ --resume, or"):
        prepare(name, {}, folder)


def test_a_users_own_recipe_and_switch_are_kept(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("extends: [math_qwen25_7b, dapo]\nds.adam_offload: true\n")
    arguments = [
        "rehearse",
        str(mine),
        "--folder",
        str(tmp_path / "r"),
        "--write-only",
        "--dipo.refill_cap",
        "1.0",
    ]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    recipe = load_recipe(str(tmp_path / "r" / "rehearsal.yaml"))
    assert recipe.get("ds.adam_offload") is True
    assert (recipe.dipo.method, recipe.dipo.refill_cap) == ("dapo", 1.0)


def test_what_cannot_be_rehearsed_is_one_line(tmp_path):
    reward = tmp_path / "mine.py"
    reward.write_text("def reward_func(queries, prompts, labels): ...\n")
    given = parse_overrides(["--reward.remote_url", str(reward)])
    with pytest.raises(UserError, match="a rehearsal exists only for the rewards math and function_call and"):
        prepare("math_qwen3_4b", given, tmp_path / "r")
    config = {
        "model_type": "llama", "num_attention_heads": 2, "hidden_size": 8, "num_hidden_layers": 1,
        "intermediate_size": 8, "vocab_size": 8, "attention_bias": True,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    given = parse_overrides(["--actor.model_name_or_path", str(tmp_path)])
    with pytest.raises(UserError, match="families Qwen2, Qwen3 and Llama alone"):
        prepare("math_qwen3_4b", given, tmp_path / "q")


def test_a_rehearsal_that_is_refused_leaves_nothing(tmp_path, monkeypatch):
    def refuse(recipe, rehearsed):
        raise UserError(f"{rehearsed.name}: would not run as it is")

    monkeypatch.setattr("dipo_openrlhf.rehearse.prepare.check_rehearsal", refuse)
    for _ in range(2):
        with pytest.raises(UserError, match="rehearsal-math_qwen3_4b: would not run"):
            prepare("math_qwen3_4b", {}, tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_name_with_a_line_break_is_no_line_of_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "a\nds.adam_offload: true #\n.yaml"
    Path(name).write_text("extends: math_qwen3_4b\n")
    path = prepare(name, {}, tmp_path / "r")
    assert path.read_text().startswith("# a\\nds.adam_offload: true #\\n.yaml, rehearsed")
    assert load_recipe(str(path)).get("ds.adam_offload") == load_recipe(name).get("ds.adam_offload")


def test_nothing_but_our_own_lines_is_on_the_terminal(tmp_path):
    """In a process of its own: DeepSpeed's warning about the missing GPU comes once a process."""
    command = [
        sys.executable,
        "-m",
        "dipo_openrlhf.cli",
        "rehearse",
        "math_qwen3_4b",
        "--write-only",
        "--folder",
        "it",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"written: {tmp_path / 'it' / 'rehearsal.yaml'}\n"
