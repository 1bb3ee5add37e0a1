"""The lesson of function calls: its tokenizer, and prompts that training and evaluation show alike."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from dipo_eval.engines.prompts import turn_end
from dipo_eval.suites import get_suites
from dipo_eval.suites.call_problems import as_tools, problems
from dipo_openrlhf.data.tool_calls import demonstrations, write_prompts
from dipo_openrlhf.quickstart.lessons.lesson import PretrainSettings
from dipo_openrlhf.quickstart.lessons.tools import LESSON, MAX_LENGTH, build_tokenizer
from dipo_openrlhf.quickstart.pretrain import pretrained_model
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.yaml_lines import Setting

TOKENIZER = build_tokenizer()


def ids(text: str) -> list[int]:
    return TOKENIZER(text, add_special_tokens=False)["input_ids"]


def rendered(messages, tools=None) -> str:
    return TOKENIZER.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True)


@given(st.text(max_size=200))
def test_any_text_comes_back(text: str) -> None:
    assert TOKENIZER.decode(ids(text), skip_special_tokens=False) == text


def test_a_call_is_few_tokens_and_a_new_name_is_made_of_known_pieces() -> None:
    call = '<tool_call>\n{"name": "set_lamp", "arguments": {"color": "red", "level": 12}}\n</tool_call>'
    assert [TOKENIZER.decode([index]) for index in ids(call)] == [
        '<tool_call>\n{"name": "', "set", "_lamp", '", "arguments": {"', "color", '": "', "red", '", "', "level",
        '": ', "12", "}}\n</tool_call>",
    ]  # fmt: skip
    names = {one["name"] for problem in problems("test", 400, seed=1) for one in problem.functions}
    assert len(names) > 100
    assert {len(ids(name)) for name in names} == {2}


def test_training_and_evaluation_show_the_same_prompt(tmp_path: Path) -> None:
    """A row's system message is what the chat template makes of the same functions as tools."""
    write_prompts(tmp_path / "p.jsonl", 60, seed=7)
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    for row in rows:
        tools = as_tools(json.loads(row["label"])["functions"])
        assert rendered(row["input"]) == rendered(row["input"][1:], tools)
    assert turn_end(TOKENIZER) == TOKENIZER.eos_token_id


def test_prompts_and_responses_fit_the_recipe() -> None:
    given = {key: Setting("org/x", "t") for key in ("actor.model_name_or_path", "data.prompt_dataset")}
    recipe = load_recipe("quickstart_tools", given)
    room, longest = recipe.get("data.max_len"), recipe.get("rollout.max_new_tokens")
    assert longest == recipe.evaluate.max_new_tokens
    for one, (prompt, response) in islice(
        zip(demonstrations(2), LESSON.conversations(TOKENIZER, 2), strict=True), 3000
    ):
        assert one.response in response.text
        assert len(ids(response.text)) < longest
        assert len(ids(prompt.text)) + longest <= room


def test_bfcl_fits_the_context() -> None:
    (suite,) = get_suites(["bfcl-basic"])
    for item in suite.load(None, 400, 0):
        assert len(ids(rendered(item.messages, item.tools))) + 48 <= MAX_LENGTH, item.id


def test_the_lesson_makes_a_model_of_its_own(tmp_path: Path) -> None:
    tiny = PretrainSettings(
        hidden_size=32, layers=1, heads=1, key_value_heads=1, mlp_size=64, demonstrations=64
    )
    folder = pretrained_model(tmp_path, tiny, progress=False, lesson=LESSON)
    assert folder.name.startswith("tools-")
    assert json.loads((folder / "config.json").read_text())["max_position_embeddings"] == MAX_LENGTH
