"""humaneval+ and mbpp+ as suites: their items, their grading, and missing parts reported before a model is loaded."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from dipo_eval.errors import UserError
from dipo_eval.suites import get_suites

helpers = runpy.run_path(str(Path(__file__).parents[1] / "code_helpers.py"))


@pytest.mark.parametrize(("name", "count"), [("humaneval+", 164), ("mbpp+", 378)])
def test_items_and_grading(name: str, count: int) -> None:
    helpers["python"]()
    suite = get_suites([name])[0]
    items = suite.load(helpers["data_dir"](), None, 0)
    assert (len(items), len({item.id for item in items})) == (count, count)
    first = suite.load(helpers["data_dir"](), 1, 0)[0]
    dataset = "humaneval" if name == "humaneval+" else "mbpp"
    problem = next(p for p in helpers["problems"](dataset) if p["task_id"] == first.id)
    solution = problem["prompt"] + problem["canonical_solution"]
    assert suite.grade(f"Here it is:\n```python\n{solution}\n```", first).status == "correct"
    assert suite.grade("I do not know.", first).status == "wrong"


def test_missing_parts_are_reported_before_loading(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    suite = get_suites(["mbpp+"])[0]
    monkeypatch.setenv("DIPO_EVALPLUS_PYTHON", str(tmp_path / "none"))
    with pytest.raises(UserError, match="make evalplus"):
        suite.load(tmp_path, None, 0)
