"""`dipo data` from rows to files: what is kept, dropped, refused and written, and that it is the same every time."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from dipo_eval.errors import UserError
from dipo_eval.runner.progress import Reporter
from dipo_openrlhf.cli import app
from dipo_openrlhf.data import get_dataset
from dipo_openrlhf.data.options import Options
from dipo_openrlhf.data.prepare import place_of, prepare

QUIET = Reporter(False)


def row(number: int, question: str | None = None, answer: str = "3") -> dict[str, str]:
    return {
        "id": f"q{number}",
        "question": question or f"How much is {number} and one more?",
        "answer": answer,
    }


def run(name: str, folder: Path, rows: list[dict], write, **options):
    file = write(folder.parent / "own.jsonl", rows)
    out = folder.parent / "out" / "train.jsonl"
    return prepare(get_dataset(name), Options(out, file, folder, **options), QUIET)


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_suite_problems_are_dropped_and_listed_with_what_they_met(folder, write):
    rows = [
        row(1),
        row(2, "a robe takes $2$ bolts of blue fiber and half that much white fiber; how many bolts in total "
               "does it take"),
        row(3, "Tim asks: a robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts are "
               "3 robes?"),
        row(4, "A train travels 270 miles in 3 hours. At the same rate, how many additional hours would it take "
               "to travel an additional 180 miles?"),
        row(5, "What is 6 * 7?"),
        row(6, "What is 6 + 7?"),
    ]  # fmt: skip
    outcome = run("gsm8k", folder, rows, write)
    report = json.loads(outcome.report_path.read_text())
    assert report == json.loads(json.dumps(outcome.report))
    assert [one["id"] for one in read(outcome.files[0].path)] == ["q1", "q4", "q6"]
    assert {one["id"]: one["met"] for one in report["dropped"]} == {
        "q2": ["gsm8k: t0 (exact, 100%)"],
        "q3": ["gsm8k: t0 (n-gram, 77%)"],
        "q5": ["gsm8k: t2 (exact, 100%)"],
    }
    (kept,) = report["kept_with_the_wording_of"]
    assert kept["id"] == "q4"
    assert report["suites"]["gsm8k"] | {"items_sha256": ""} == {
        "items": 3, "items_sha256": "", "exact": 2, "n-gram": 1, "wording": 1,
    }  # fmt: skip
    assert report["counts"]["dropped"] == {"suite, exact": 2, "suite, n-gram": 1}
    assert set(report["not_checked"]) == {"math500", "minerva"}
    strict = run("gsm8k", folder, rows, write, drop_wording=True, force=True)
    assert [one["id"] for one in read(strict.files[0].path)] == ["q1", "q6"]


def test_generated_prompts_meet_the_control_suite_of_the_evaluations_seed(folder, write):
    from dipo_eval.suites.arithmetic_problems import problems

    stolen = problems("test", 500, 7, unique_formulas=True)[0]
    rows = [row(1), row(2, stolen.question, stolen.answer)]
    assert (
        run("gsm8k", folder, rows, write, suite_seed=7).report["suites"]["arithmetic-control"]["exact"] == 1
    )
    made = prepare(get_dataset("arithmetic"), Options(folder / "a.jsonl", None, folder, 200), QUIET)
    assert made.files[0].rows == 200
    assert made.report["suites"]["arithmetic-control"]["exact"] == 0


def test_each_problem_once_and_only_those_with_one_gold(folder, write):
    rows = [row(1), row(1), row(2, "HOW much is 1, and one more"), row(3), row(4, answer="7")]
    rows += [row(5, rows[4]["question"], answer="8"), row(6), row(7, row(6)["question"], "3.0")]
    with pytest.raises(UserError, match=r"own.jsonl:6: the same question has the gold '7' \(.*:5\) and '8'"):
        run("gsm8k", folder, rows, write)
    assert not (folder.parent / "out").exists()
    outcome = run("gsm8k", folder, rows, write, drop_bad=True)
    assert [one["id"] for one in read(outcome.files[0].path)] == ["q1", "q3", "q6"]
    assert outcome.report["counts"] == {
        "read": 8, "same_row_again": 1, "dropped": {"duplicate": 2, "two golds": 2}, "left_by_limit": 0, "kept": 3,
    }  # fmt: skip
    assert {one["id"] for one in outcome.report["dropped"]} == {"q2", "q4", "q5", "q7"}


@pytest.mark.parametrize(
    ("bad", "why", "message"),
    [
        (row(2, answer="\\frac{1}{2"), "gold", "own.jsonl:2: gold answer: .* unbalanced braces"),
        (row(2, answer="..."), "gold", "own.jsonl:2: gold answer: .* holds no answer"),
        (row(2, "?!"), "unsound", "own.jsonl:2: the question '\\?!' holds no words"),
        (
            row(1, "Another problem?"),
            "id taken",
            "own.jsonl:2: the id 'q1' is already that of another problem",
        ),
    ],
)
def test_unsound_rows_are_refused_with_their_line_or_dropped_when_asked(folder, write, bad, why, message):
    with pytest.raises(UserError, match=message) as caught:
        run("gsm8k", folder, [row(1), bad], write)
    assert "\n" not in str(caught.value)
    assert "--drop-bad" in str(caught.value)
    outcome = run("gsm8k", folder, [row(1), bad], write, drop_bad=True)
    assert outcome.report["counts"]["dropped"] == {why: 1}
    assert outcome.report["dropped"][0]["where"].endswith("own.jsonl:2")


def test_broken_files_are_always_refused_with_their_line(folder, write):
    with pytest.raises(UserError, match=r"own.jsonl:2: no field 'answer'; the row has: id, question"):
        run("gsm8k", folder, [row(1), {"id": "q2", "question": "Why?"}], write, drop_bad=True)
    file = write(folder / "bad.jsonl", [row(1)])
    file.write_text(file.read_text() + "{not json\n")
    with pytest.raises(UserError, match=r"bad.jsonl:2: not valid JSON"):
        prepare(get_dataset("gsm8k"), Options(folder / "o.jsonl", file, folder), QUIET)
    with pytest.raises(UserError, match="no prompt is left of 0 rows"):
        run("gsm8k", folder, [], write)


def test_it_says_why_no_prompt_is_left(folder, write):
    rows = [row(1, "?!"), row(2, answer="..."), row(5, "What is 6 * 7?")]
    words = r"no prompt is left of 3 rows \(1 gold, 1 suite, exact, 1 unsound\); the first, .*own.jsonl:1: the question"
    with pytest.raises(UserError, match=words):
        run("gsm8k", folder, rows, write, drop_bad=True)


def test_the_same_bytes_again_and_nothing_overwritten_unasked(folder, write):
    rows = [row(number) for number in range(40)]
    first = run("gsm8k", folder, rows, write, split=0.3)
    before = {path: path.read_bytes() for path in first.report_path.parent.iterdir()}
    assert len(before) == 3
    again = run("gsm8k", folder, rows, write, split=0.3)
    assert {path: path.read_bytes() for path in first.report_path.parent.iterdir()} == before
    assert [one.unchanged for one in again.files] == [True, True]
    for one in again.files:
        assert one.sha256 == hashlib.sha256(one.path.read_bytes()).hexdigest()
    with pytest.raises(UserError, match=r"train.jsonl: has other content; .* --force"):
        run("gsm8k", folder, rows[1:], write, split=0.3)
    assert {path: path.read_bytes() for path in first.report_path.parent.iterdir()} == before
    assert not run("gsm8k", folder, rows[1:], write, split=0.3, force=True).files[0].unchanged


def test_more_rows_move_nobody_between_the_parts(folder, write):
    rows = [row(number) for number in range(60)]

    def parts(some, **options):
        outcome = run("gsm8k", folder, some, write, split=0.25, force=True, **options)
        return [{one["id"] for one in read(written.path)} for written in outcome.files]

    train, heldout = parts(rows[:40])
    more_train, more_heldout = parts(rows)
    assert train < more_train
    assert heldout < more_heldout
    assert not more_train & more_heldout
    assert len(more_train | more_heldout) == 60
    few, same = parts(rows, limit=10)
    assert len(few) == 10
    assert few < more_train
    assert same == more_heldout
    assert parts(rows, limit=10, seed=1)[0] != few


@given(st.integers(), st.text())
def test_places_lie_in_the_unit_interval(seed, identity):
    assert 0 <= place_of(seed, identity) < 1


def test_prompts_have_the_asked_form(folder, write):
    def first(**options):
        rows = [row(1, r"Is $\frac{1}{2}$ {0}?")]
        return read(run("gsm8k", folder, rows, write, force=True, **options).files[0].path)[0]

    assert first() == {
        "id": "q1", "label": "3", "datasource": "gsm8k",
        "input": "Is $\\frac{1}{2}$ {0}?\n\nPlease reason step by step, and put your final answer within \\boxed{}.",
    }  # fmt: skip
    assert first(template="plain")["input"] == r"Is $\frac{1}{2}$ {0}?"
    assert first(template="Q: {question}\nA:")["input"] == "Q: Is $\\frac{1}{2}$ {0}?\nA:"
    with pytest.raises(UserError, match=r"a string with \{question\}"):
        first(template="boxd")


def test_a_suite_of_ones_own_is_compared_with(folder, write):
    write(folder / "mine.jsonl", [{"question": "How much is 4 and one more?", "answer": "5"}])
    (folder / "mine.yaml").write_text("name: mine\nfile: mine.jsonl\n")
    outcome = run("gsm8k", folder, [row(4), row(5)], write, also=(str(folder / "mine.yaml"),))
    assert outcome.report["suites"]["mine"]["exact"] == 1
    with pytest.raises(UserError, match=r"none.yaml: no such file"):
        run("gsm8k", folder, [row(4)], write, also=(str(folder / "none.yaml"),))


def test_on_the_command_line(folder, write):
    file, out = write(folder / "own.jsonl", [row(1), row(1)]), folder / "new" / "train.jsonl"
    arguments = ["data", "gsm8k", "--from", str(file), "--data-dir", str(folder), "--out", str(out)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "the same row again: 1" in result.output
    assert "NOT compared with minerva: " in result.output
    assert f"{out}: 1 prompts, sha256 {hashlib.sha256(out.read_bytes()).hexdigest()}" in result.output
    assert ", unchanged, sha256" in CliRunner().invoke(app, arguments).output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gsm8"], "--out FILE.jsonl"),
        (["gsm8", "--out", "o.jsonl"], "unknown data set 'gsm8': did you mean 'gsm8k'?"),
        (["gsm8k", "--out", "o.json"], "must end in .jsonl"),
        (["gsm8k", "--out", "o.jsonl", "--from", "none.jsonl"], "--from none.jsonl: no such file"),
        (["arithmetic", "--out", "o.jsonl", "--from", "x.jsonl"], "arithmetic is generated"),
        (["toolrl", "--out", "o.jsonl", "--prompt", "boxed"], "complete conversations"),
        ([], "no data set named"),
        (["arithmetic", "--out", "o.jsonl", "--data-dir", "nowhere"], "--data-dir 'nowhere': no such folder"),
        (["arithmetic", "--out", "/proc/no/o.jsonl"], "--out '/proc/no/o.jsonl': nothing can be written there"),
        (["arithmetic", "--out", f"{'o' * 300}.jsonl"], "a name in it is longer than 255 bytes"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(folder, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    with pytest.raises(UserError) as caught:
        CliRunner().invoke(app, ["data", *arguments], catch_exceptions=False)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(folder.glob("o.*"))


@pytest.mark.parametrize("name", ["gsm8k", "math", "dapo_math", "toolrl", "seal_tools"])
def test_without_file_and_hub_the_message_says_what_file_would_do(folder, name):
    with pytest.raises(UserError) as caught:
        prepare(get_dataset(name), Options(folder / "o.jsonl", None, folder), QUIET)
    message = str(caught.value)
    assert "\n" not in message
    assert "--from takes a .jsonl, .json, .parquet file whose rows hold " in message
    assert get_dataset(name).files[0] in message
    assert ("hub's" in message) == (get_dataset(name).hub is not None)


def test_the_list_names_every_data_set():
    result = CliRunner().invoke(app, ["data", "--list"], catch_exceptions=False)
    for word in ("gsm8k", "math", "dapo_math", "toolrl", "seal_tools", "arithmetic", "17,398", "Apache-2.0"):
        assert word in result.output
