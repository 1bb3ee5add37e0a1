"""Data mistakes are found before Ray starts, with file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.quickstart.tokenizer import build_tokenizer
from dipo_openrlhf.recipe.preflight import check_data_file, check_model, check_prompts


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    build_tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "qwen3"}')
    return folder


def rows(path: Path, *inputs: str) -> Path:
    path.write_text("".join(json.dumps({"input": text, "label": "1"}) + "\n" for text in inputs))
    return path


def argv(model: Path, data: Path, *more: str) -> list[str]:
    return [
        "--actor.model_name_or_path", str(model), "--data.prompt_dataset", str(data),
        "--data.apply_chat_template", "--data.label_key", "label", *more,
    ]  # fmt: skip


def test_missing_model_folder():
    with pytest.raises(UserError, match="no such folder"):
        check_model("./no/such/model")


def test_folder_without_a_model(tmp_path):
    with pytest.raises(UserError, match=r"no config\.json"):
        check_model(str(tmp_path))


def test_a_hub_name_is_left_to_the_hub():
    check_model("Qwen/Qwen3-4B-Base")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ('{"input": "a", "label": "1"}\n{"input": ', ":2: not valid JSON"),
        (
            '{"question": "a", "label": "1"}\n',
            ":1: no key 'input' (data.input_key); the row has: question, label",
        ),
        ('{"input": "a"}\n', ":1: no key 'label'"),
        ('{"input": "", "label": "1"}\n', ":1: 'input' (data.input_key) is empty"),
        ("[1]\n", ":1: no key 'input'"),
    ],
)
def test_bad_data_file(tmp_path, text, words):
    path = tmp_path / "prompts.jsonl"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        check_data_file(str(path), "input", "label")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_data_file(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        check_data_file(str(tmp_path / "none.jsonl"), "input", None)


def test_a_prompt_longer_than_the_context_names_the_row(tmp_path, model):
    data = rows(tmp_path / "prompts.jsonl", "What is 1 + 1?", "What is " + "1 + " * 60 + "1?")
    with pytest.raises(
        UserError, match=r"prompts\.jsonl:2: the prompt has \d+ tokens, but data\.max_len = 64"
    ):
        check_prompts(argv(model, data, "--data.max_len", "64", "--rollout.max_new_tokens", "16"))


def test_prompts_that_fit_pass(tmp_path, model):
    data = rows(tmp_path / "prompts.jsonl", "What is 1 + 1?")
    check_prompts(
        argv(
            model, data, "--data.max_len", "64", "--rollout.max_new_tokens", "16", "--ds.param_dtype", "fp32"
        )
    )
