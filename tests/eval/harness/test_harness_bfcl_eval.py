"""bfcl-eval's accuracy beside ours, category by category, with its overall numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dipo_eval.grading.calls import bfcl
from dipo_eval.harness.bfcl_eval import HARNESS
from dipo_eval.harness.report import official_scores
from dipo_eval.results.store import write_suite
from dipo_eval.suites import Item, get_suites
from dipo_eval.suites.bfcl.overall import overall_scores

pytestmark = pytest.mark.skipif(not bfcl.is_installed(), reason="bfcl-eval is not installed")


def graded(category: str, number: int, response: str) -> dict[str, Any]:
    item = bfcl.items(category)[number]
    row = {
        "item_id": item["id"], "sample": 0, "prompt": "", "response": response, "gold": item["ground_truth"],
        "kind": category,
    }  # fmt: skip
    verdict = get_suites(["bfcl"])[0].grade(response, Item(item["id"], [], item["ground_truth"], row))
    return {**row, "status": verdict.status, "reason": verdict.reason}


def test_accuracy_by_category_and_what_only_bfcl_eval_passes(tmp_path: Path) -> None:
    """Its checker compares texts without blanks and marks, so that 3.14 is 314: strict does not."""
    right = "[calculate_triangle_area(base=10, height=5)]"
    rows = [
        graded("simple_python", 0, right),
        graded("simple_python", 0, "[calculate_triangle_area(base=10, height=5, unit='un.its')]"),
        graded("irrelevance", 0, "I cannot do this."),
        {**graded("irrelevance", 1, ""), "kind": "multi_turn_base"},
    ]
    rows[1]["sample"] = 1
    assert [row["status"] for row in rows[:3]] == ["correct", "wrong", "correct"]
    result = write_suite(tmp_path, rows, {"suite": "bfcl"})
    found = official_scores(tmp_path, result, HARNESS)
    overall = overall_scores({"simple_python": 1.0, "irrelevance": 1.0})
    assert found["left_out"] == 1
    assert found["metrics"] == {
        "accuracy": {"value": 1.0, "n": 3, "ours": 2 / 3, "disagreements": 1},
        "accuracy/simple_python": {"value": 1.0, "n": 2, "ours": 0.5, "disagreements": 1},
        "accuracy/irrelevance": {"value": 1.0, "n": 1, "ours": 1.0, "disagreements": 0},
        **{
            f"{name} overall, missing parts as 0": {
                "value": score["missing_as_zero"], "n": 3, "ours": None, "disagreements": None,
            }
            for name, score in overall.items()
        },
    }  # fmt: skip
    assert [(row["sample"], row["metric"], row["their_reason"]) for row in found["disagreements"]] == [
        (1, "accuracy", "valid")
    ]


def test_what_it_would_run_is_undecided_and_counted(tmp_path: Path) -> None:
    rows = [graded("simple_python", 0, "[calculate_triangle_area(base=9**9**9 + 1, height=5)]")]
    found = official_scores(tmp_path, write_suite(tmp_path, rows, {"suite": "bfcl"}), HARNESS)
    assert found["undecided"] == 1
    assert found["metrics"]["accuracy"]["value"] == 0.0
    assert found["metrics"]["accuracy"]["n"] == 1
