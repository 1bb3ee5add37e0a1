"""Answers, programs and calls that graders misjudged, in ../shared/cases/grading.jsonl: skipped where it is absent."""

from __future__ import annotations

import gzip
import json
import os
import runpy
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.grading import grade_calls, grade_math
from dipo_eval.grading.code.extract import extract_code
from dipo_eval.grading.code.grade import CodeGrader

SHARED = Path(__file__).resolve().parents[4] / "shared"
CASES = SHARED / "cases" / "grading.jsonl"
PROBLEMS = "HumanEvalPlus-v0.1.10.jsonl.gz"
# Open questions that docs/grading.md answers otherwise than the file: response, gold.
DECIDED = {(r"\boxed{x+z=1}", "1"): "correct", (r"\boxed{\sqrt{x^2}}", "x"): "correct"}

helpers = runpy.run_path(str(Path(__file__).parents[1] / "code_helpers.py"))
grader = pytest.fixture(scope="module")(helpers["open_grader"])


def cases(kind: str) -> list[dict[str, Any]]:
    if not CASES.exists():
        pytest.skip("../shared/cases/grading.jsonl not found")
    rows = [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["kind"] == kind]


def test_answers() -> None:
    misjudged = []
    for case in cases("answer"):
        pair = case["response"], case["gold"]
        verdict = grade_math(*pair)
        if verdict.status != DECIDED.get(pair, case["want"]):
            misjudged.append((case, verdict))
    assert misjudged == []


def test_calls() -> None:
    misjudged = []
    for case in cases("call"):
        verdict = grade_calls(case["response"], case["gold"], case["functions"], category=case["category"])
        if verdict.status != case["want"]:
            misjudged.append((case, verdict))
    assert misjudged == []


def test_programs(grader: CodeGrader) -> None:
    found = cases("code")
    path = Path(os.environ.get("DIPO_DATA_DIR") or SHARED / "data") / PROBLEMS
    if not path.exists():
        pytest.skip(f"{PROBLEMS} not found")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        problems = {row["task_id"]: row for row in map(json.loads, file)}
    misjudged = []
    for case in found:
        problem = problems[case["gold"]]
        code = extract_code(case["response"], problem["entry_point"], problem["prompt"])
        verdict = grader.grade(case["gold"], code).plus
        if verdict.status != case["want"]:
            misjudged.append((case, verdict))
    assert misjudged == []
