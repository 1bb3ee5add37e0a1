"""Every gold answer of the public sets is its own right answer, and not the next problem's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dipo_eval.grading import check_gold, grade_math
from dipo_eval.grading.math.grade import joined

SUITES = {"gsm8k_test": 1319, "math500": 500, "aime24": 30, "aime25": 30, "amc23": 40, "olympiadbench": 675}
# Pairs of different texts that are one answer: a unit or the name of the unknown left out, another name of an argument.
TRULY_EQUAL = {
    ("math500", "x=5", "5"),
    ("math500", "36", r"36^\circ"),
    ("olympiadbench", "$f(z)=z$", "$f(n)=n$"),
}


def rows(suite: str) -> list[dict[str, Any]]:
    folder = os.environ.get("DIPO_DATA_DIR") or str(Path(__file__).resolve().parents[4] / "shared" / "data")
    path = Path(folder) / f"{suite}.jsonl"
    if not path.exists():
        pytest.skip(f"{suite}.jsonl not found; set DIPO_DATA_DIR to the folder with the public sets")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("suite", SUITES)
def test_every_gold_is_correct_against_itself(suite: str) -> None:
    items = rows(suite)
    assert len(items) == SUITES[suite]
    for item in items:
        check_gold(item["answer"])
        verdict = grade_math(
            f"It follows that \\boxed{{{joined(item['answer'])}}}.",
            item["answer"],
            tolerance=item.get("error"),
        )
        assert verdict.status == "correct", (item["id"], item["answer"], verdict)


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("distance", [1, 2, 7])
def test_no_gold_is_correct_against_another_problems(suite: str, distance: int) -> None:
    items = rows(suite)
    for index, item in enumerate(items):
        other = items[(index + distance) % len(items)]["answer"]
        if other == item["answer"]:
            continue
        verdict = grade_math(rf"\boxed{{{joined(other)}}}", item["answer"], tolerance=item.get("error"))
        if verdict.status != "wrong":
            assert (suite, joined(other), joined(item["answer"])) in TRULY_EQUAL, verdict


@pytest.mark.slow
@pytest.mark.parametrize("suite", ["math500", "olympiadbench"])
def test_all_pairs_of_golds(suite: str) -> None:
    """Every distinct gold against every other: whatever is judged equal is listed, and must be equal by
    value.
    """
    answers = sorted({joined(item["answer"]) for item in rows(suite)})
    equal = [
        (answer, gold)
        for gold in answers
        for answer in answers
        if answer != gold and grade_math(rf"\boxed{{{answer}}}", gold).status == "correct"
    ]
    mirrored = sum((gold, answer) in equal for answer, gold in equal)
    assert mirrored >= 0.9 * len(equal), equal
