"""Rows of a user's own data that are nested too deeply or hold what no parser takes: one line with the row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.errors import UserError
from dipo_eval.grading import check_gold
from dipo_eval.suites import get_suites
from dipo_eval.suites.data_file import MAX_DEPTH, read_records
from dipo_openrlhf.data.dapo_math import DATASET
from dipo_openrlhf.data.sources import open_source
from dipo_openrlhf.preflight.prompts import check_data_file
from dipo_openrlhf.record.rollout_replay import read_rollouts

GOOD = b'{"question": "1+1?", "input": "1+1?", "answer": "2", "label": "2"}'


def _suite(path: Path) -> Any:
    suite = path.with_name("mine.yaml")
    suite.write_text(f"name: mine\nfile: {path.name}\n")
    return get_suites([str(suite)])[0].load(None, None, 0)


READERS: dict[str, Callable[[Path], Any]] = {
    "read_records": read_records,
    "suite": _suite,
    "dipo data": lambda path: list(open_source(DATASET, path, None).rows),
    "dipo train": lambda path: check_data_file(str(path), "input", "label"),
}
ROWS = {
    "deep": b'{"input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "less deep": b'{"input": ' + b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1) + b"}",
    "deep objects": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "never closed": b'{"input": ' + b"[" * 100_000,
    "many digits": b'{"input": ' + b"9" * 5_000 + b"}",
    "a NUL": b'{"input": "\0"}',
    "not UTF-8": b'{"input": "caf\xe9"}',
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ROWS)
def test_a_hostile_row_is_one_line_with_its_place(tmp_path: Path, name: str, reader: str):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD + b"\n" + ROWS[name] + b"\n" + GOOD + b"\n")
    with pytest.raises(UserError) as caught:
        READERS[reader](path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert ":2: " in message or "not UTF-8" in message
    assert len(message) < 400
    assert message.isprintable()


def test_a_hostile_list_of_rows_names_the_row(tmp_path: Path):
    path = tmp_path / "rows.json"
    path.write_bytes(b"[" + GOOD + b"," + ROWS["less deep"] + b"]")
    with pytest.raises(UserError, match="row 2: nested deeper than"):
        list(open_source(DATASET, path, None).rows)
    path.write_bytes(b"[" * 100_000)
    with pytest.raises(UserError, match="nested too deeply"):
        list(open_source(DATASET, path, None).rows)


def test_rollouts_that_are_nested_name_the_row(tmp_path: Path):
    path = tmp_path / "rollouts.jsonl"
    path.write_bytes(b"[" * 100_000 + b"\n{}\n")
    with pytest.raises(UserError, match=r"rollouts\.jsonl:1: nested deeper"):
        read_rollouts(path)


def test_ordinary_nesting_is_read(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    row = {"input": [{"a": [[{"b": [1, 2, {"c": "[" * 500}]}]]}] * 50}
    path.write_text(json.dumps(row))
    assert read_records(path).rows == [(1, row)]


@pytest.mark.parametrize("gold", ["x" + "!" * 900, r"\log" * 200 + "x", r"\sin" * 300 + "x"])
def test_a_gold_that_no_parser_takes_is_refused_or_read(gold: str):
    refused = ""
    try:
        check_gold(gold)
    except UserError as error:
        refused = str(error)
    assert not refused or "write it in a" in refused
