"""dipo grade: stored samples, new verdicts, changes, second opinions, and files that cannot be graded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import zstandard
from typer.testing import CliRunner

from dipo_eval.errors import UserError
from dipo_eval.grading import Verdict
from dipo_eval.harness.registry import second_grader
from dipo_eval.printable import visible
from dipo_eval.runner.regrade import find_samples, read_stored, regrade, suite_of
from dipo_openrlhf.cli import app

ROWS: list[dict[str, Any]] = [
    {
        "item_id": "a",
        "sample": 0,
        "response": r"\boxed{5}",
        "gold": "5",
        "status": "correct",
        "reason": "equal",
    },
    {
        "item_id": "b",
        "sample": 0,
        "response": r"\boxed{5}",
        "gold": "6",
        "status": "correct",
        "reason": "old",
    },
    {"item_id": "c", "sample": 0, "response": "The answer is 5 or 6 or 7", "gold": "5", "status": "wrong"},
    {"item_id": "d", "sample": 1, "response": r"\boxed{9**9**9}", "gold": "5"},
    {"item_id": "e", "sample": 0, "response": "4.25", "gold": "4.2", "tolerance": "1e-1", "status": "wrong"},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(zstandard.compress(text) if path.suffix == ".zst" else text)
    return path


@pytest.mark.parametrize("name", ["samples.jsonl", "samples.jsonl.zst"])
def test_rows_are_graded_again_in_order(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, ROWS)
    assert find_samples(tmp_path) == path
    seen: list[int] = []
    graded = regrade(read_stored(path), None, advance=seen.append)
    assert [one.verdict.status for one in graded] == ["correct", "wrong", "wrong", "undecided", "correct"]
    assert [one.changed for one in graded] == [False, True, False, False, True]
    assert seen == [1] * 5


def test_the_command_prints_verdicts_changes_and_writes_them(tmp_path: Path) -> None:
    path, out = write(tmp_path / "samples.jsonl", ROWS), tmp_path / "new" / "verdicts.jsonl"
    done = CliRunner().invoke(app, ["grade", str(path), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "2 of 5 verdicts changed" in done.output
    written = [json.loads(line) for line in out.read_text().splitlines()]
    assert written[1] == {
        "item_id": "b", "sample": 0, "stored_status": "correct", "status": "wrong", "reason": "integers",
        "extracted": "5",
    }  # fmt: skip
    assert written[3]["stored_status"] is None


def test_check_exits_with_one_where_a_verdict_changed(tmp_path: Path) -> None:
    changed, same = write(tmp_path / "a.jsonl", ROWS), write(tmp_path / "b.jsonl", ROWS[:1])
    assert CliRunner().invoke(app, ["grade", str(changed), "--check"]).exit_code == 1
    assert CliRunner().invoke(app, ["grade", str(same), "--check"]).exit_code == 0


def test_disagreements_with_math_verify_are_listed(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["grade", str(write(tmp_path / "s.jsonl", ROWS)), "--against", "math-verify"]
    )
    assert done.exit_code == 0, done.output
    assert "scored differently by math-verify" in done.output
    line = next(line for line in done.output.splitlines() if "5 or 6 or 7" in line)
    assert line.split()[:4] == ["c", "3", "correct", "wrong"]


def test_a_second_grader_that_hangs_is_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dipo_eval.harness.base.LIMIT_S", 2.0)
    with second_grader("math-verify") as grade:
        assert grade({"response": r"\boxed{5}", "gold": "5"}).status == "correct"
        assert grade({"response": r"$9^{9^{9^9}}$", "gold": "5"}) == Verdict("undecided", "time limit")
        assert grade({"response": r"\boxed{6}", "gold": "5"}).status == "wrong"


def test_an_unknown_second_grader_is_one_line() -> None:
    with pytest.raises(UserError, match="choose from bfcl-eval, math-verify"), second_grader("mine"):
        pass


def test_the_suite_beside_the_file_grades(tmp_path: Path) -> None:
    path = write(tmp_path / "samples.jsonl", ROWS)
    assert suite_of(path, None) is None
    (tmp_path / "results.json").write_text('{"suite": "gsm8k"}')
    found, named = suite_of(path, None), suite_of(path, "math500")
    assert found is not None
    assert named is not None
    assert (found.name, named.name) == ("gsm8k", "math500")
    with pytest.raises(UserError):
        suite_of(path, "gsm9k")


BAD_LINES = {
    "not JSON": "{",
    "not an object": "[1]",
    "no response": '{"item_id": "a", "gold": "5"}',
    "no id": '{"response": "5", "gold": "5"}',
    "no gold": '{"item_id": "a", "response": "5"}',
    "unknown status": '{"item_id": "a", "response": "5", "gold": "5", "status": "good"}',
    "deep": "[" * 100_000,
    "not UTF-8": "\udcff",
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "samples.jsonl"
    line = BAD_LINES[name].encode("utf-8", "surrogateescape")
    path.write_bytes(json.dumps(ROWS[0]).encode() + b"\n" + line + b"\n")
    with pytest.raises(UserError) as error:
        read_stored(path)
    assert str(error.value).startswith(f"{path}:2: ")
    assert "\n" not in str(error.value)


def test_files_that_are_missing_empty_or_torn_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    torn = tmp_path / "samples.jsonl.zst"
    torn.write_bytes(b"torn")
    for path in (tmp_path / "empty.jsonl", torn):
        with pytest.raises(UserError) as error:
            read_stored(path)
        assert "\n" not in str(error.value)
    for path in (tmp_path / "none.jsonl", tmp_path / "none"):
        with pytest.raises(UserError, match="no such file"):
            find_samples(path)


def test_a_gold_of_another_kind_asks_for_its_suite(tmp_path: Path) -> None:
    path = write(tmp_path / "samples.jsonl", [{**ROWS[0], "gold": [{"f": {"x": [1]}}]}])
    with pytest.raises(UserError, match="--suite"):
        regrade(read_stored(path), None)


def test_text_of_a_model_is_shown_as_text(tmp_path: Path) -> None:
    response = "[bold red]\x1b[2J\u202e \\boxed{\x07[link=x]7[/link]}"
    rows = [
        {**ROWS[0], "item_id": "[/]\x1b]0;x", "response": response, "gold": "[blink]5", "status": "correct"}
    ]
    done = CliRunner().invoke(app, ["grade", str(write(tmp_path / "s.jsonl", rows))])
    assert done.exit_code == 0, done.output
    assert not set("\x1b\x07\u202e") & set(done.output)
    assert "[link=x]7" in done.output
    assert "[blink]5" in done.output


def test_visible_spells_out_what_hides_and_cuts_the_middle() -> None:
    assert visible("a\nb\x1b[0m\u200f\ud800") == "a\\nb\\u001b[0m\\u200f\\ud800"
    cut = visible("x" * 1000 + "end", 90)
    assert cut.startswith("xxx")
    assert cut.endswith("end")
    assert "[... 913 characters ...]" in cut
