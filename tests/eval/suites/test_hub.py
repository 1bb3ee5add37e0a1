"""Public data sets where the local file is missing: the real loader on a data set made here, and no long waits."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.errors import UserError
from dipo_eval.suites import all_suites, get_suites
from dipo_eval.suites.data_file import DataFile
from dipo_eval.suites.hub import HubData, final_answer, hub_records
from dipo_eval.suites.math_file import load_math_file


def convert(row: dict[str, Any], number: int) -> dict[str, Any]:
    return {"id": f"q{number}", "question": row["problem"], "answer": final_answer(row["solution"])}


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> HubData:
    """A data set in a folder, which the library loads as it loads one of the hub."""
    folder = tmp_path_factory.mktemp("public")
    rows = [{"problem": f"What is {i} + 1000?", "solution": f"so\n#### 1,{i:03}"} for i in range(3)]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return HubData(str(folder), "test", convert, 3)


def test_a_missing_file_is_replaced_by_the_public_data_set(
    tmp_path: Path, public: HubData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    items = load_math_file(DataFile("there_is_none.jsonl", None, public), lambda row: {}, tmp_path, None, 0)
    assert [(item.id, item.gold) for item in items] == [("q1", "1000"), ("q2", "1001"), ("q3", "1002")]


def test_rows_or_columns_other_than_expected_are_refused(
    tmp_path: Path, public: HubData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    with pytest.raises(UserError, match="has 3 rows, the benchmark has 4"):
        hub_records(replace(public, rows=4))
    with pytest.raises(UserError, match=r"expected \(KeyError: 'question'"):
        hub_records(replace(public, convert=lambda row, number: {"question": row["question"]}))


def test_without_a_hub_one_line_lists_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    for offline, reason in (("1", "HF_HUB_OFFLINE is set"), ("0", "not reachable")):
        monkeypatch.setenv("HF_HUB_OFFLINE", offline)
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
        started = time.monotonic()
        with pytest.raises(
            UserError, match=f"minerva.jsonl: no such file.*math-ai/minervamath.*{reason}"
        ) as caught:
            get_suites(["minerva"])[0].load(tmp_path, None, 0)
        assert time.monotonic() - started < 10
        assert "\n" not in str(caught.value)


def test_the_cache_is_used_without_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the cache without the data: the loader runs, and its failure is one line."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    (tmp_path / "cache" / "hub" / "datasets--math-ai--minervamath").mkdir(parents=True)
    with pytest.raises(
        UserError, match=r"minervamath .test. is not available .HF_HUB_OFFLINE is set"
    ) as caught:
        get_suites(["minerva"])[0].load(tmp_path, None, 0)
    assert "\n" not in str(caught.value)


def test_a_hub_that_hangs_is_given_up(public: HubData, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"did not arrive within 0\.2 seconds"):
        hub_records(public, limit_s=0.2)


def test_every_math_suite_names_its_public_data_set() -> None:
    named = {name: suite.data.hub for name, suite in all_suites().items() if suite.data}
    assert set(named) == {
        "aime24", "aime25", "amc23", "gsm8k", "gsm8k-5shot", "math500", "minerva", "olympiadbench",
    }  # fmt: skip
    assert all(hub is not None and hub.rows > 0 for hub in named.values())


# One row of each public data set, in its columns; the content is ours.
ROWS: dict[str, dict[str, Any]] = {
    "gsm8k": {"question": "1 + 1?", "answer": "It is 2.\n#### 2"},
    "math500": {
        "problem": "1 + 1?", "answer": "2", "unique_id": "test/a/1.json", "subject": "Algebra", "level": 1,
        "solution": "2",
    },
    "aime24": {"id": 60, "problem": "1 + 1?", "answer": "002", "solution": "2", "url": "u", "year": "2024"},
    "aime25": {"problem": "1 + 1?", "answer": "2", "id": "0"},
    "amc23": {"id": 0, "question": "1 + 1?", "answer": "2.0", "url": "u"},
    "olympiadbench": {
        "id": 7, "question": "1 + 1?", "final_answer": ["2"], "context": None, "error": None, "unit": None,
        "subfield": "Algebra", "answer_type": "Numerical", "is_multiple_answer": False,
    },
    "minerva": {"question": "1 + 1?", "answer": "2"},
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_a_row_becomes_an_item(tmp_path: Path, name: str) -> None:
    suite = get_suites([name])[0]
    assert suite.data is not None
    assert suite.data.hub is not None
    record = suite.data.hub.convert(ROWS[name], 1)
    (tmp_path / suite.data.name).write_text(json.dumps(record) + "\n")
    (item,) = suite.load(tmp_path, None, 0)
    assert item.messages[0]["content"].startswith("1 + 1?")
    assert suite.grade("\\boxed{2}", item).status == "correct"
