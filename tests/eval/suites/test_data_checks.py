"""Corrupt or wrong data is refused before any engine is opened, naming file and line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dipo_eval.errors import UserError
from dipo_eval.suites import all_suites, get_suites
from dipo_openrlhf.cli import app

GOOD = [{"id": f"q{i}", "question": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(3)]
BAD = [
    pytest.param(2, "{not json", r"gsm8k_test.jsonl:3: not valid JSON", id="bad JSON line"),
    pytest.param(
        2, json.dumps(GOOD[0]), r"gsm8k_test.jsonl:3: id 'q0' is already on line 1", id="duplicate id"
    ),
    pytest.param(
        1,
        json.dumps({**GOOD[1], "answer": "\\frac{1}{"}),
        "gsm8k_test.jsonl:2: gold answer",
        id="gold that cannot be parsed",
    ),
    pytest.param(
        0, json.dumps(GOOD[0]), "gsm8k_test.jsonl: is not the benchmark's file: sha256 ", id="wrong hash"
    ),
]


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing an engine is an ImportError, which no command takes for a mistake of the user."""
    monkeypatch.delenv("DIPO_ACCEPT_DATA")
    for name in ("vllm", "transformers"):
        monkeypatch.setitem(sys.modules, f"dipo_eval.engines.{name}", None)


def write(folder: Path, *lines: str) -> Path:
    (folder / "gsm8k_test.jsonl").write_text("".join(line + "\n" for line in lines))
    return folder


def run(data: Path, model: Path, results: Path) -> tuple[int, str, BaseException | None]:
    arguments = ["eval", str(model), "--suites", "arithmetic-control,gsm8k", "--data-dir", str(data)]
    done = CliRunner().invoke(app, [*arguments, "--results", str(results), "--engine", "hf", "--limit", "2"])
    return done.exit_code, done.output, done.exception


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize(("index", "line", "message"), BAD)
def test_unsound_data_is_refused_before_an_engine_is_opened(
    tmp_path: Path, models: Path, index: int, line: str, message: str
) -> None:
    lines = [json.dumps(row) for row in GOOD]
    lines[index] = line
    status, output, error = run(write(tmp_path, *lines), models, tmp_path / "results")
    assert status == 2
    assert message in output
    assert output.count("\n") == 1
    assert isinstance(error, SystemExit)
    assert not (tmp_path / "results").exists()


@pytest.mark.usefixtures("no_engine")
def test_the_same_command_with_accepted_data_comes_to_the_engine(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: without the error in the data this is what would have happened."""
    monkeypatch.setenv("DIPO_ACCEPT_DATA", "gsm8k_test.jsonl")
    _, _, error = run(write(tmp_path, *map(json.dumps, GOOD)), models, tmp_path / "results")
    assert isinstance(error, ImportError)


def test_the_message_names_both_hashes_and_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, *map(json.dumps, GOOD))
    suite = get_suites(["gsm8k"])[0]
    monkeypatch.setenv("DIPO_ACCEPT_DATA", "math500.jsonl, aime24.jsonl")
    expected = suite.data.sha256 if suite.data else None
    with pytest.raises(UserError, match=rf"sha256 [0-9a-f]{{64}}, expected {expected}.*=gsm8k_test.jsonl"):
        suite.load(tmp_path, None, 0)
    for accepted in ("all", "x.jsonl,gsm8k_test.jsonl"):
        monkeypatch.setenv("DIPO_ACCEPT_DATA", accepted)
        assert len(suite.load(tmp_path, None, 0)) == 3


def test_every_published_file_has_its_hash() -> None:
    """minerva's is not known here: its file has never been seen on the machines that this was made on."""
    files = {name: suite.data for name, suite in all_suites().items() if suite.data}
    assert {name for name, data in files.items() if not data.sha256} == {"minerva"}
    assert {len(data.sha256) for data in files.values() if data.sha256} == {64}
