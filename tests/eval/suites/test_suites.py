"""The suites: found by discovery, sound data loaded as it is, unsound data refused with file and line."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dipo_eval import suites as suites_package
from dipo_eval.errors import UserError
from dipo_eval.results.store import read_samples
from dipo_eval.suites import all_suites, get_suites
from dipo_eval.suites.base import items_sha256, take
from dipo_eval.suites.data_file import DataFile
from dipo_eval.suites.math_file import load_math_file
from dipo_openrlhf.cli import app

FILES = {
    "gsm8k": ("gsm8k_test.jsonl", 1319),
    "math500": ("math500.jsonl", 500),
    "aime24": ("aime24.jsonl", 30),
    "aime25": ("aime25.jsonl", 30),
    "amc23": ("amc23.jsonl", 40),
    "olympiadbench": ("olympiadbench.jsonl", 675),
}
REAL_DATA = Path(os.environ.get("DIPO_DATA_DIR") or Path(__file__).resolve().parents[4] / "shared" / "data")


def problem(item_id: str = "p-1", **more: Any) -> dict[str, Any]:
    return {"id": item_id, "question": f"What is 1 + 1 ({item_id})?", "answer": "2", **more}


def write_lines(path: Path, *rows: dict[str, Any] | str) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def load_rows(folder: Path, *rows: dict[str, Any] | str, limit: int | None = None, seed: int = 0) -> Any:
    write_lines(folder / "data.jsonl", *rows)
    return load_math_file(DataFile("data.jsonl"), lambda row: {}, folder, limit, seed)


def test_every_suite_is_found_with_its_source() -> None:
    found = all_suites()
    assert set(found) >= {*FILES, "arithmetic-control"}
    assert list(found) == sorted(found)
    for suite in found.values():
        assert suite.source
        assert suite.license
        assert suite.metric


MODULE = """
    from dipo_eval.suites.data_file import DataFile
    from dipo_eval.suites.math_file import math_suite

    SUITE = math_suite(
        name="added", source="here", license="Apache-2.0", metric="accuracy", data=DataFile("added.jsonl")
    )
"""

PROGRAM = """
    from dipo_eval.grading import Verdict
    from dipo_eval.suites import Item, Suite

    def load(data_dir, limit, seed):
        return [Item(str(n), [{"role": "user", "content": f"Count to {n}."}], str(n)) for n in range(3)][:limit]

    def grade(response, item):
        return Verdict("correct" if response.endswith(item.gold) else "wrong", "its end")

    SUITE = Suite("added", "here", "Apache-2.0", "accuracy", load, grade)
"""


@pytest.mark.parametrize("own", [False, True], ids=["module of the package", "file of the user"])
def test_one_new_file_is_a_new_benchmark(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    """A file of under 40 lines, and nothing else, is evaluated by `dipo eval` to its end."""
    folder, data = tmp_path / "new", tmp_path / "data"
    folder.mkdir()
    data.mkdir()
    path = folder / "added_suite.py"
    path.write_text(textwrap.dedent(PROGRAM if own else MODULE))
    assert len(path.read_text().splitlines()) < 40
    write_lines(data / "added.jsonl", problem("a"), problem("b"), problem("c"))
    if not own:
        monkeypatch.setattr(suites_package, "__path__", [*suites_package.__path__, str(folder)])
    monkeypatch.delitem(sys.modules, "dipo_eval.suites.added_suite", raising=False)
    arguments = ["eval", str(models / "global_step2_hf"), "--suites", str(path) if own else "added"]
    options = (
        f"--results {tmp_path / 'results'} --run r --engine hf --max-new-tokens 4 --data-dir {data}".split()
    )
    try:
        done = CliRunner().invoke(app, [*arguments, *options], catch_exceptions=False)
    finally:
        sys.modules.pop("dipo_eval.suites.added_suite", None)
        vars(suites_package).pop("added_suite", None)
    assert done.exit_code == 0, done.output
    (result,) = tmp_path.glob("results/r/*/added/results.json")
    assert json.loads(result.read_text())["n_items"] == 3
    assert len(read_samples(result.parent)) == 3


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no suite"),
        (["gsm8"], "did you mean 'gsm8k'"),
        (["zzz"], "choose from"),
        (["gsm8k"] * 2, "twice"),
    ],
)
def test_wrong_suite_names_are_explained(names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        get_suites(names)


def test_a_problem_is_prompted_and_graded(tmp_path: Path) -> None:
    write_lines(tmp_path / "math500.jsonl", problem(subject="Algebra", level=2, answer="\\frac{1}{2}"))
    suite = get_suites(["math500"])[0]
    (item,) = suite.load(tmp_path, None, 0)
    content = (
        "What is 1 + 1 (p-1)?\n\nPlease reason step by step, and put your final answer within \\boxed{}."
    )
    assert item.messages == [{"role": "user", "content": content}]
    assert item.meta == {"kind": "Algebra", "level": 2}
    assert suite.grade("so \\boxed{0.5}", item).status == "correct"
    assert suite.grade("so \\boxed{0.6}", item).status == "wrong"


def test_olympiadbench_takes_lists_and_tolerances(tmp_path: Path) -> None:
    rows = [
        problem("a", answer=["4.2"], error="1e-1", subject="Algebra", unit="%"),
        problem("b", answer=["1,3"], error=None, is_multiple_answer=True),
    ]
    write_lines(tmp_path / "olympiadbench.jsonl", *rows)
    suite = get_suites(["olympiadbench"])[0]
    measured, several = suite.load(tmp_path, None, 0)
    assert measured.meta == {"kind": "Algebra", "unit": "%", "tolerance": "1e-1"}
    assert suite.grade("\\boxed{4.3}", measured).status == "correct"
    assert suite.grade("\\boxed{4.5}", measured).status == "wrong"
    assert suite.grade("\\boxed{3, 1}", several).status == "correct"
    assert suite.grade("\\boxed{1}", several).status == "wrong"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "has no problems"),
        (["", "  "], "has no problems"),
        ([problem(), "{broken"], r"data\.jsonl:2: not valid JSON"),
        ([problem(), "[1]"], r"data\.jsonl:2: is a list"),
        ([problem(), problem("b"), problem()], r"data\.jsonl:3: id 'p-1' is already on line 1"),
        ([problem(question="")], r"data\.jsonl:1: field 'question'"),
        ([problem(question=7)], r"data\.jsonl:1: field 'question'"),
        ([{"question": "q", "answer": "1"}], r"data\.jsonl:1: field 'id'"),
        ([{"id": "a", "question": "q"}], r"data\.jsonl:1: field 'answer'"),
        ([problem(answer=18)], r"data\.jsonl:1: field 'answer'"),
        ([problem(answer=[])], r"data\.jsonl:1: field 'answer'"),
        ([problem(answer=["1", ""])], r"data\.jsonl:1: field 'answer'"),
        ([problem(answer="\\frac{1}{")], r"data\.jsonl:1: gold answer"),
    ],
)
def test_unsound_data_is_refused_in_one_line(
    tmp_path: Path, rows: list[dict[str, Any] | str], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_rows(tmp_path, *rows)
    assert "\n" not in str(caught.value)


def test_a_bad_tolerance_names_its_line(tmp_path: Path) -> None:
    write_lines(tmp_path / "olympiadbench.jsonl", problem("a", answer=["1"]), problem("b", error="about 1"))
    with pytest.raises(UserError, match=r"olympiadbench\.jsonl:2: tolerance 'about 1'"):
        get_suites(["olympiadbench"])[0].load(tmp_path, None, 0)


def test_bytes_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_bytes(b'{"id": "\xff"}\n')
    with pytest.raises(UserError, match="not UTF-8"):
        load_math_file(DataFile("data.jsonl"), lambda row: {}, tmp_path, None, 0)


def test_a_missing_file_or_folder_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"gsm8k_test\.jsonl: no such file"):
        get_suites(["gsm8k"])[0].load(tmp_path, None, 0)
    monkeypatch.delenv("DIPO_DATA_DIR", raising=False)
    with pytest.raises(UserError, match="DIPO_DATA_DIR"):
        get_suites(["gsm8k"])[0].load(None, None, 0)


def test_the_variable_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lines(tmp_path / "amc23.jsonl", problem())
    monkeypatch.setenv("DIPO_DATA_DIR", str(tmp_path))
    assert [item.id for item in get_suites(["amc23"])[0].load(None, None, 0)] == ["p-1"]


def test_line_separators_inside_a_text_do_not_end_the_row(tmp_path: Path) -> None:
    row = json.dumps(problem(question="a\u2028b"), ensure_ascii=False)
    assert load_rows(tmp_path, row)[0].messages[0]["content"].startswith("a\u2028b")


def test_a_limit_takes_a_seeded_subset_in_order(tmp_path: Path) -> None:
    rows = [problem(f"p-{i:02}") for i in range(50)]
    ids = [item.id for item in load_rows(tmp_path, *rows, limit=10, seed=1)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 10
    assert ids == [item.id for item in load_rows(tmp_path, *rows, limit=10, seed=1)]
    assert ids != [item.id for item in load_rows(tmp_path, *rows, limit=10, seed=2)]
    assert len(load_rows(tmp_path, *rows, limit=80)) == 50
    with pytest.raises(UserError, match="limit=0"):
        take(load_rows(tmp_path, *rows), 0, 0)


def test_the_hash_of_items_sees_every_field(tmp_path: Path) -> None:
    base = items_sha256(load_rows(tmp_path, problem(), problem("b")))
    assert base == items_sha256(load_rows(tmp_path, problem(), problem("b")))
    for changed in ([problem("b"), problem()], [problem(answer="3"), problem("b")], [problem()]):
        assert items_sha256(load_rows(tmp_path, *changed)) != base


def test_the_control_suite_is_seeded_and_needs_no_data() -> None:
    suite = get_suites(["arithmetic-control"])[0]
    items = suite.load(None, 50, 3)
    assert len({item.id for item in items}) == 50
    assert [i.id for i in items] == [i.id for i in suite.load(None, 50, 3)]
    assert [i.id for i in items] != [i.id for i in suite.load(None, 50, 4)]
    assert len(suite.load(None, None, 0)) == 500
    for item in items:
        assert item.meta["kind"]
        assert suite.grade(f"\\boxed{{{item.gold}}}", item).status == "correct"
        assert suite.grade(f"\\boxed{{{item.gold}1}}", item).status == "wrong"
    with pytest.raises(UserError, match="limit=0"):
        suite.load(None, 0, 0)


@pytest.mark.parametrize("name", FILES)
def test_the_real_data_loads_whole(name: str) -> None:
    filename, count = FILES[name]
    if not (REAL_DATA / filename).is_file():
        pytest.skip(f"{filename} is not in {REAL_DATA}; set DIPO_DATA_DIR")
    items = get_suites([name])[0].load(REAL_DATA, None, 0)
    assert len({item.id for item in items}) == count
