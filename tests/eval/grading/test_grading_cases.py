"""Our table of answers, each with its correct verdict and that of math-verify 0.9.0."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from dipo_eval.grading import grade_math

TABLE = Path(__file__).parents[1] / "grading_cases.tsv"


def cases() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


CASES = cases()


@pytest.mark.parametrize(
    "case", CASES, ids=[f"{index}-{case['gold'][:24]}" for index, case in enumerate(CASES)]
)
def test_verdict(case: dict[str, str]) -> None:
    verdict = grade_math(case["response"], case["gold"])
    assert verdict.status == case["expected"], verdict


def test_table_is_balanced_and_free_of_duplicates() -> None:
    right = sum(case["expected"] == "correct" for case in CASES)
    assert len(CASES) >= 200
    assert 0.4 <= right / len(CASES) <= 0.6
    assert len({(case["gold"], case["response"]) for case in CASES}) == len(CASES)


def test_recorded_verdicts_of_math_verify_are_its_own() -> None:
    math_verify = pytest.importorskip("math_verify")
    for case in CASES:
        gold = math_verify.parse(f"${case['gold']}$")
        answer = math_verify.parse(case["response"])
        given = "correct" if math_verify.verify(gold, answer) else "wrong"
        assert given == case["math_verify"], case


# lm-eval's, math-verify's and Qwen2.5-Math's known defects: gold, response, ours,
# theirs.
KNOWN_DEFECTS = [
    ("18", r"\boxed{18}. This took 2 steps.", "correct", "lm-eval gsm8k reads 2"),
    ("18", "The area is 18 m^2.\nThe answer is 18 m^2.", "correct", "lm-eval gsm8k reads 2"),
    ("18", "18.00", "correct", "lm-eval gsm8k: not 18"),
    ("33", r"\boxed{033}", "correct", "lm-eval aime: wrong"),
    ("1024", r"\boxed{1,024}", "correct", "lm-eval aime: wrong"),
    ("204", r"\boxed{204.0}", "correct", "lm-eval aime: wrong"),
    ("204", r"\boxed{\text{204}}", "correct", "lm-eval aime: wrong"),
    ("204", r"\boxed{m+n=204}", "correct", "lm-eval aime: wrong"),
    ("204", "So the answer is 204.", "correct", "lm-eval aime: no box, wrong"),
    ("5", "5 or 6 or 7", "wrong", "math-verify: correct"),
    (r"\frac{9}{7}", r"\dfrac{9}{7}", "correct", "math-verify: wrong"),
    ("0.1", r"10\%", "correct", "math-verify: wrong"),
    ("0.1", "10", "wrong", "Qwen2.5-Math: correct"),
    ("10", "1000", "wrong", "Qwen2.5-Math: correct"),
    ("10", "0.1", "wrong", "Qwen2.5-Math: correct"),
    (r"\frac{1}{23}", r"\frac{12}{3}", "wrong", "Qwen2.5-Math: correct"),
    ("[1,2]", "(1,2)", "wrong", "Qwen2.5-Math: correct"),
]


@pytest.mark.parametrize(("gold", "response", "expected", "other"), KNOWN_DEFECTS)
def test_known_defects_of_other_graders(gold: str, response: str, expected: str, other: str) -> None:
    assert grade_math(response, gold).status == expected, other
