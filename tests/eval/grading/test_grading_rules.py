"""The rules of docs/grading.md: what each accepts, what stays wrong, and that the document has them as they are."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from dipo_eval.grading import grade_math

RULES = runpy.run_path(str(Path(__file__).parents[1] / "grading_rules.py"))
ALL = RULES["rules"]()


@pytest.mark.parametrize("rule", ALL, ids=[rule["rule"][:40] for rule in ALL])
def test_a_rule_accepts_its_example_and_not_the_near_miss(rule: dict[str, str]) -> None:
    right, wrong = (grade_math(rule[name], rule["gold"]) for name in ("correct", "wrong"))
    assert right.status == "correct", right
    assert wrong.status == "wrong", wrong


def test_the_document_has_the_rules() -> None:
    document = RULES["DOCUMENT"].read_text(encoding="utf-8")
    assert document == RULES["replaced"](document), "run python tests/eval/grading_rules.py"
