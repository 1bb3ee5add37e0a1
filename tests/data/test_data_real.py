"""The real files, where they are: the figures of docs/data.md, and its commands."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dipo_openrlhf.cli import app
from dipo_openrlhf.data import get_dataset
from dipo_openrlhf.data.leaks import LeakIndex, Suites, read_suites
from dipo_openrlhf.data.options import Options
from dipo_openrlhf.data.prepare import prepare
from dipo_openrlhf.data.sources import open_source

ROOT = Path(__file__).parent.parent.parent
DATA = Path(os.environ.get("DIPO_DATA_DIR") or ROOT.parent / "shared" / "data")
NEEDED = (
    "gsm8k_train.jsonl",
    "math_rl_train.jsonl",
    "fc_toolrl_train.jsonl",
    "fc_toolrl_val.jsonl",
    "fc_sealtools.jsonl",
    "math500.jsonl",
    "olympiadbench.jsonl",
)
COMMANDS = re.findall(r"^dipo data (?!--list)[^#\n]+", (ROOT / "docs" / "data.md").read_text(), re.MULTILINE)

needs_data = pytest.mark.skipif(
    not all((DATA / name).is_file() for name in NEEDED),
    reason=f"the data are not in {DATA}: set DIPO_DATA_DIR",
)


@pytest.fixture(scope="module")
def suites():
    """All suites, read once."""
    return read_suites(DATA, (), 0, lambda count: None)


def without(suites, part_of):
    """As read_suites leaves out those whose items are trained on."""
    return Suites([one for one in suites.read if one.name not in part_of], suites.unread)


@pytest.fixture
def prepared(suites, tmp_path, monkeypatch):
    from dipo_eval.runner.progress import Reporter
    from dipo_openrlhf.data import prepare as module

    monkeypatch.setattr(module, "read_suites", lambda *given: without(suites, given[-1]))
    return lambda name, file=None: (
        prepare(get_dataset(name), Options(tmp_path / f"{name}.jsonl", file, DATA), Reporter(False)).report
    )


@needs_data
def test_every_suite_is_compared_with_or_named(suites):
    from dipo_eval.suites import all_suites

    assert {suite.name for suite in suites.read} | set(suites.unread) == set(all_suites())
    assert {"aime24", "aime25", "amc23", "arithmetic-control", "bfcl", "bfcl-native", "gsm8k", "math500",
            "olympiadbench"} <= {suite.name for suite in suites.read}  # fmt: skip
    later_turns = sum(len(suite.problems) > suite.items for suite in suites.read if suite.name == "bfcl")
    assert later_turns == 1


@needs_data
def test_solved_problems_of_a_few_shot_prompt_are_no_leaks(suites):
    (few_shot,) = (suite for suite in suites.read if suite.name == "gsm8k-5shot")
    assert (few_shot.items, few_shot.problems) == (1319, [])


@needs_data
def test_a_suite_finds_its_own_problems_exactly(suites):
    index = LeakIndex(suites, 8, 0.5)
    gsm8k = get_dataset("gsm8k")
    rows = open_source(gsm8k, DATA / "gsm8k_test.jsonl", None).rows
    for _, record in list(rows)[:50]:
        assert [(one.suite, one.how) for one in index.meetings(gsm8k.convert(record))[:1]] == [
            ("gsm8k", "exact")
        ]


@needs_data
def test_math_has_one_problem_of_olympiadbench_and_none_of_math500(prepared):
    report = prepared("math")
    exact = [one for one in report["dropped"] if one["why"] == "suite, exact"]
    assert [(one["id"], one["met"]) for one in exact] == [
        ("math-train-6844", ["olympiadbench: olympiadbench-2644 (exact, 100%)"])
    ]
    assert report["suites"]["math500"]["exact"] == 0
    assert report["counts"]["dropped"] == {"suite, exact": 1, "suite, n-gram": 12}
    assert len(report["kept_with_the_wording_of"]) == 59


@needs_data
def test_toolrl_loses_its_malformed_row(prepared):
    report = prepared("toolrl")
    assert report["counts"]["dropped"] == {"suite, n-gram": 1, "unsound": 1}
    assert {one["id"] for one in report["dropped"]} == {"toolrl-sft-130", "toolrl-sft-371"}


@needs_data
def test_no_row_of_toolrls_test_file_is_one_of_bfcl(prepared):
    report = prepared("toolrl", DATA / "fc_toolrl_val.jsonl")
    assert (report["counts"]["kept"], report["counts"]["dropped"]) == (79, {"unsound": 1})
    assert all(report["suites"][name]["wording"] == 0 for name in ("bfcl", "bfcl-native"))


@needs_data
def test_seal_tools_keeps_the_rows_whose_arguments_are_in_the_request_and_leaks_none(prepared):
    report = prepared("seal_tools")
    assert (report["counts"]["kept"], report["counts"]["dropped"]) == (1479, {"unsound": 482})
    rows = map(json.loads, (DATA / "fc_sealtools.jsonl").read_text(encoding="utf-8").splitlines())
    assert {one["id"] for one in report["dropped"]} == {row["id"] for row in rows if not row["args_in_query"]}
    assert [one["id"] for one in report["kept_with_the_wording_of"]] == ["sealtools-dev-difficult-448"]


@needs_data
def test_seal_tools_has_toolrls_own_system_message(prepared, tmp_path):
    def frame(text):
        return text.partition("1. Name: ")[0], text.partition("**Steps for Each Turn**")[2]

    prepared("seal_tools")
    made = json.loads((tmp_path / "seal_tools.jsonl").read_text().splitlines()[0])
    row = json.loads((DATA / "fc_toolrl_train.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert frame(made["input"][0]["content"]) == frame(row["system"])


@needs_data
def test_gsm8k_train_is_clean(prepared):
    report = prepared("gsm8k")
    assert (report["counts"]["kept"], report["counts"]["dropped"]) == (7473, {})
    assert report["suites"]["gsm8k"]["wording"] == 3


def test_the_document_has_commands():
    assert len(COMMANDS) == 9


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize("command", COMMANDS)
def test_the_documents_commands_run(suites, tmp_path, monkeypatch, command):
    from dipo_openrlhf.data import prepare as module

    monkeypatch.setattr(module, "read_suites", lambda *given: without(suites, given[-1]))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(tmp_path / "folder")
    (tmp_path / "folder").mkdir()
    for name in NEEDED:
        (tmp_path / "folder" / name).symlink_to(DATA / name)
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = {"prompt": [{"role": "user", "content": "Find 1 + 1."}], "reward_model": {"ground_truth": "2"}}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "dapo-math-17k.parquet")
    result = CliRunner().invoke(app, shlex.split(command)[1:], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (written,) = re.findall(r"--out (\S+)", command)
    assert json.loads((tmp_path / written).read_text().splitlines()[0])["label"]
