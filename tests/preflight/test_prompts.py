"""Data mistakes are found before Ray starts, with file and line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dipo_eval.errors import UserError
from dipo_openrlhf.preflight.prompts import (
    Reading,
    check_data_file,
    check_prompts,
    load_tokenizer,
    twice_templated,
)
from dipo_openrlhf.preflight.rows import check_library_reads, have_one_form
from dipo_openrlhf.quickstart.lessons.arithmetic import build_tokenizer


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    build_tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "qwen3"}')
    return folder


def rows(path: Path, *inputs: str) -> Path:
    path.write_text("".join(json.dumps({"input": text, "label": "1"}) + "\n" for text in inputs))
    return path


def reading(model: Path, **changes) -> Reading:
    plain = Reading(str(model), "input", "label", True, None, 64, 16, 10**8)
    return replace(plain, **changes)


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
        ("[1]\n", ":1: is [1], not an object"),
        ('{"input": 5, "label": "1"}\n', ":1: 'input' (data.input_key) is 5: a prompt is text, or a list"),
        ('{"input": ["a"], "label": "1"}\n', 'a message is {"role": "user", "content": "..."}'),
        ('{"input": [{"role": "user"}], "label": "1"}\n', "its user message has no content"),
        ('{"input": "\\ud800", "label": "1"}\n', "half of a character"),
        (
            '{"input": "a", "label": "1"}\n{"input": "a", "label": 1}\n',
            ":2: 'label' (data.label_key) is 1, in ",
        ),
        ('{"input": "a", "label": "2020-01-01"}\n', "where all look like dates"),
        ('\ufeff{"input": "a", "label": "1"}\n', ":1: begins with a byte order mark"),
        ('{"input": "a", "label": NaN}\n', ":1: 'label' (data.label_key) is empty"),
        (
            '{"input": "a", "label": 9223372036854775808}\n',
            ":1: 'label' (data.label_key) has more digits than",
        ),
        (
            '{"input": "[{\\"role\\": \\"user\\", \\"content\\": \\"a\\"}]", "label": "1"}\n',
            "is a list of messages written as text: write the list itself",
        ),
        (
            '{"input": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "label": "1"}\n',
            "its last message is the assistant's: a prompt ends before the answer",
        ),
        (
            '{\n "input": "a",\n "label": "1"\n}\n',
            ":1: the file is one JSON value of several lines (input, label): write the rows, an object a line",
        ),
    ],
)
def test_bad_data_file(tmp_path, text, words):
    path = tmp_path / "prompts.jsonl"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        check_data_file(str(path), "input", "label")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


LONG = "x" * 200


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ({"meta": "a"}, r"a\.jsonl:60001: 'meta' \('a'\) is of another type than before: cannot be loaded by"),
        ({"meta": 1, "extra": "a"}, r"a\.jsonl:60001: 'extra' \('a'\) is in no row before"),
        ({"meta": 1}, ""),
    ],
)  # fmt: skip
def test_rows_without_common_columns_are_told(tmp_path, monkeypatch, last, words):
    """Beyond the first 10 MB, of which the library takes the columns."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    path = tmp_path / "a.jsonl"
    row = {"input": LONG, "label": "1", "meta": 1}
    path.write_text((json.dumps(row) + "\n") * 60_000 + json.dumps(row | last) + "\n")
    found = check_data_file(str(path), "input", "label")
    assert have_one_form(found) == (not words)
    if not words:
        check_library_reads(str(path), None, "train", found)
        return
    with pytest.raises(UserError, match=words) as caught:
        check_library_reads(str(path), None, "train", found)
    assert str(caught.value).endswith("give every row the same keys, with values of one type")


def test_files_whose_columns_differ_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    for name, label in (("a", '"1"'), ("b", "1")):
        (tmp_path / f"{name}.jsonl").write_text(f'{{"input": "x", "label": {label}}}\n')
    names = f"{tmp_path}/a.jsonl,{tmp_path}/b.jsonl"
    found = check_data_file(names, "input", "label")
    with pytest.raises(UserError, match=r"b\.jsonl:1: 'label' \(1\) is of another type than before"):
        check_library_reads(names, None, "train", found)


def test_a_prompt_that_has_the_template_already(tmp_path, model):
    mark = load_tokenizer(str(model)).eos_token
    found = [("a.jsonl:1", {"input": f"1 + 1?{mark}", "label": "2"})]
    assert f"a.jsonl:1: the prompt holds {mark!r}, a mark of the model's" in twice_templated(
        found, reading(model)
    )
    assert not twice_templated(found, reading(model, apply_chat_template=False))
    assert not twice_templated([("a.jsonl:1", {"input": "1 + 1?", "label": "2"})], reading(model))


def test_missing_data_file(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        check_data_file(str(tmp_path / "none.jsonl"), "input", None)


def test_a_prompt_longer_than_the_context_names_the_row(tmp_path, model):
    data = rows(tmp_path / "prompts.jsonl", "What is 1 + 1?", "What is " + "1 + " * 60 + "1?")
    with pytest.raises(
        UserError, match=r"prompts\.jsonl:2: the prompt has \d+ tokens, but data\.max_len = 64"
    ):
        check_prompts(check_data_file(str(data), "input", "label"), reading(model))


def test_prompts_that_fit_pass(tmp_path, model):
    data = rows(tmp_path / "prompts.jsonl", "What is 1 + 1?")
    counted: list[int] = []
    check_prompts(check_data_file(str(data), "input", "label"), reading(model), counted.append)
    assert counted == [1]


@pytest.mark.parametrize("ending", [".json", ".parquet"])
def test_every_format_of_rows_is_read_and_named(tmp_path, model, ending):
    table = [{"input": "What is 1 + 1?", "label": "2"}, {"input": "1 + " * 60, "label": "60"}]
    path = tmp_path / f"prompts{ending}"
    if ending == ".json":
        path.write_text(json.dumps(table))
    else:
        pq.write_table(pa.Table.from_pylist(table), path)
    with pytest.raises(UserError, match=rf"prompts\{ending}: row 2: the prompt has \d+ tokens"):
        check_prompts(check_data_file(str(path), "input", "label"), reading(model))


def test_several_files_are_all_read(tmp_path, model):
    names = [str(rows(tmp_path / f"{name}.jsonl", f"What is {name}?")) for name in "ab"]
    assert len(check_data_file(", ".join(names), "input", "label")) == 2
    with pytest.raises(UserError, match=r"'none\.jsonl': no such file"):
        check_data_file(f"{names[0]},none.jsonl", "input", "label")


@pytest.mark.parametrize("kind", ["csv", "folder"])
def test_what_the_data_sets_library_reads_is_checked_too(tmp_path, model, kind):
    from datasets import Dataset

    table = Dataset.from_list(
        [{"input": "What is 1 + 1?", "label": "2"}, {"input": "1 + " * 60, "label": "60"}]
    )
    path = tmp_path / f"set.{kind}"
    if kind == "csv":
        table.to_csv(path)
    else:
        table.save_to_disk(path)
    assert check_data_file(str(path), "input", "label") == []
    found = check_data_file(str(path), "input", "label", split="train")
    with pytest.raises(UserError, match=rf"set\.{kind}: row 2: the prompt has \d+ tokens"):
        check_prompts(found, reading(model))
    with pytest.raises(UserError, match=r"row 1: no key 'question' .*; the row has: input, label"):
        check_data_file(str(path), "question", "label", split="train")


def test_a_set_that_cannot_be_loaded_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        UserError, match=r"'zwhe/missing': is no file here, and cannot be loaded as a data set"
    ) as caught:
        check_data_file("zwhe/missing", "input", "label", split="train")
    assert "\n" not in str(caught.value)


def test_a_split_that_a_set_lacks_is_named(tmp_path):
    from datasets import Dataset, DatasetDict

    path = tmp_path / "set"
    DatasetDict({"train": Dataset.from_list([{"input": "a", "label": "1"}])}).save_to_disk(path)
    with pytest.raises(UserError, match="has no split 'test'"):
        check_data_file(str(path), "input", "label", split="test")


def test_the_template_that_refuses_a_role_names_the_row(tmp_path, model):
    template = (
        "{% for message in messages %}{% if message['role'] == 'system' %}{{ raise_exception('System role not "
        "supported') }}{% endif %}{{ message['content'] }}{% endfor %}"
    )
    tokenizer = build_tokenizer()
    tokenizer.chat_template = template
    tokenizer.save_pretrained(model)
    chats = [
        [{"role": role, "content": "x"}, {"role": "user", "content": "y"}] for role in ("user", "system")
    ]
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"input": chat, "label": "1"}) + "\n" for chat in chats))
    with pytest.raises(
        UserError, match=r"prompts.jsonl:2: .*refuses the prompt, with the roles system, user .*System role"
    ):
        check_prompts(check_data_file(str(path), "input", "label"), reading(model))
