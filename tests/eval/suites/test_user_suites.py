"""A suite of the user's own: one YAML or one Python file, checked like the package's, and part of the suite's hash."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dipo_eval.errors import UserError
from dipo_eval.runner.provenance import suite_hash
from dipo_eval.suites import get_suites
from dipo_openrlhf.cli import app

DOCUMENT = Path(__file__).parents[3] / "docs" / "adding_a_benchmark.md"


@pytest.fixture
def documented(tmp_path: Path) -> Path:
    """The files of the document, as it shows them."""
    text = DOCUMENT.read_text(encoding="utf-8")
    for language, name in (("json", "trains.jsonl"), ("yaml", "my_suite.yaml")):
        (block,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
        (tmp_path / name).write_text(block)
    return tmp_path / "my_suite.yaml"


def write(folder: Path, text: str, *rows: object) -> Path:
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "mine.yaml"
    path.write_text(textwrap.dedent(text))
    return path


def test_the_documented_suite_loads_and_grades(documented: Path) -> None:
    (suite,) = get_suites([str(documented)])
    first, second = suite.load(None, None, 0)
    assert (suite.name, suite.license, suite.source) == ("trains", "Apache-2.0", "written by ourselves")
    assert [(item.id, item.meta) for item in (first, second)] == [
        ("a1", {"kind": "speed"}),
        ("a2", {"kind": "fractions"}),
    ]
    assert first.messages[0]["content"].endswith("within \\boxed{}.")
    assert suite.grade("\\boxed{80 \\text{ km/h}}", first).status == "correct"
    assert suite.grade("\\boxed{5/6}", second).status == "correct"
    assert suite.grade("\\boxed{2/5}", second).status == "wrong"
    assert len(suite.load(None, 1, 0)) == 1


def test_the_documented_suite_is_listed_and_evaluated(documented: Path, models: Path) -> None:
    listed = CliRunner().invoke(app, ["eval", "--list", "--suites", str(documented)])
    assert re.search(r"trains +2 +[0-9a-f]{12} ", listed.output)
    results = documented.parent / "results"
    arguments = ["eval", str(models / "global_step2_hf"), "--suites", f"{documented},arithmetic-control"]
    options = f"--results {results} --run r --engine hf --max-new-tokens 4 --limit 2".split()
    done = CliRunner().invoke(app, [*arguments, *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (folder,) = results.glob("r/*/trains")
    assert json.loads((folder / "results.json").read_text())["n_items"] == 2


def test_the_yaml_is_part_of_the_hash(documented: Path) -> None:
    (suite,) = get_suites([str(documented)])
    items = suite.load(None, None, 0)
    before = suite_hash(suite, items)
    assert suite_hash(suite, items) == before
    documented.write_text(documented.read_text() + "metric: accuracy\n")
    assert suite_hash(suite, items) != before


def test_exact_answers_and_prompts(tmp_path: Path) -> None:
    text = """
        name: capitals
        file: data.jsonl
        grader: exact
        system: You are brief.
        prompt: "Name the capital: {question} Not {this}."
    """
    row = {"question": "France?", "answer": ["Paris", "the city of Paris"]}
    (suite,) = get_suites([str(write(tmp_path, text, row))])
    (item,) = suite.load(None, None, 0)
    assert item.id == "line-1"
    assert [message["content"] for message in item.messages] == [
        "You are brief.",
        "Name the capital: France? Not {this}.",
    ]
    for response in ("Paris", " the city\n of Paris ", "So it is \\boxed{Paris}."):
        assert suite.grade(response, item).status == "correct", response
    for response in ("paris", "Paris or Lyon", "", "\\boxed{Lyon}"):
        assert suite.grade(response, item).status == "wrong", response


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nfile: data.jsonl\ngreder: math", "greder: no such key: did you mean 'grader'"),
        (
            "name: x\nfile: data.jsonl\nfields: {quesion: a}",
            "fields.quesion: no such key: did you mean 'question'",
        ),
        ("name: x\nfile: data.jsonl\nzzz: 1", "zzz: no such key: there are name, file"),
        ("name: x", "file: is missing"),
        ("name: x\nfile: data.jsonl\ngrader: fuzzy", "grader: 'fuzzy': Input should be 'math' or 'exact'"),
        ("name: 3\nfile: data.jsonl", "name: 3: Input should be a valid string"),
        ("name: ../up\nfile: data.jsonl", "must be a folder's name"),
        ("name: gsm8k\nfile: data.jsonl", "is taken by a suite of this package"),
        ("name: x\nfile: data.jsonl\nprompt: Solve.", "prompt: 'Solve.': must hold {question}"),
        ("name: [x\nfile:", "mine.yaml:2: not valid YAML"),
        ("- a", "must hold keys"),
    ],
)
def test_a_bad_yaml_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        get_suites([str(write(tmp_path, text))])
    assert str(tmp_path / "mine.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "has no problems"),
        ([{"id": "a", "question": "q", "answer": "1"}] * 2, "data.jsonl:2: id 'a' is already on line 1"),
        ([{"id": "a", "question": "q", "answer": "\\frac{1}{"}], "data.jsonl:1: gold answer"),
        ([{"id": "a", "question": "q"}], "data.jsonl:1: field 'answer'"),
        ([{"id": 7, "question": "q", "answer": "1"}], "data.jsonl:1: field 'id'"),
        ([["a"]], "data.jsonl:1: is a list"),
    ],
)
def test_bad_data_is_refused_with_its_line(tmp_path: Path, rows: list[object], message: str) -> None:
    path = write(tmp_path, "name: x\nfile: data.jsonl\nfields: {id: id}", *rows)
    with pytest.raises(UserError, match=re.escape(message)):
        get_suites([str(path)])[0].load(None, None, 0)


PYTHON = """
    from dipo_eval.grading import Verdict
    from dipo_eval.suites import Item, Suite

    def load(data_dir, limit, seed):
        return [Item("one", [{"role": "user", "content": "Say yes."}], "yes")][:limit]

    def grade(response, item):
        return Verdict("correct" if response == item.gold else "wrong", "same text")

    SUITE = Suite("yes", "here", "Apache-2.0", "accuracy", load, grade)
"""


def test_a_python_file_is_a_suite_and_its_source_is_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "mine.py"
    path.write_text(textwrap.dedent(PYTHON))
    (suite,) = get_suites([str(path)])
    assert list(tmp_path.iterdir()) == [path]
    assert sys.dont_write_bytecode is False
    items = suite.load(None, None, 0)
    assert suite.grade("yes", items[0]).status == "correct"
    before = suite_hash(suite, items)
    path.write_text(textwrap.dedent(PYTHON) + "\n# changed\n")
    assert suite_hash(suite, items) != before


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1", "defines no SUITE"),
        ("1 / 0", "fails when it is imported (ZeroDivisionError"),
        ("x = (", "fails when it is imported (SyntaxError"),
    ],
)
def test_a_bad_python_file_is_refused_in_one_line(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(source)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        get_suites([str(tmp_path / "mine.py")])
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: no such file"):
        get_suites([str(tmp_path / "none.yaml")])


def test_the_list_shows_what_is_missing(tmp_path: Path) -> None:
    listed = CliRunner().invoke(app, ["eval", "--list", "--data-dir", str(tmp_path)], catch_exceptions=False)
    assert listed.exit_code == 0
    assert re.search(r"arithmetic-control +500 +[0-9a-f]{12} ", listed.output)
    assert re.search(r"gsm8k +- +- ", listed.output)
    assert "gsm8k: put gsm8k_test.jsonl into" in listed.output
    unknown = CliRunner().invoke(app, ["eval", "--list", "--suites", "gsm8"])
    assert (unknown.exit_code, "did you mean 'gsm8k'" in unknown.output) == (2, True)


def test_a_module_that_cannot_be_imported_does_not_end_the_list(tmp_path):
    broken = tmp_path / "mine.py"
    broken.write_text("import no_such_module\n")
    listed = CliRunner().invoke(app, ["eval", "--list", "--suites", str(broken)], catch_exceptions=False)
    assert listed.exit_code == 0
    assert "arithmetic-control" in listed.output
    assert "No module named 'no_such_module'" in listed.output
