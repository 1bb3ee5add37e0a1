"""grade_math and check_gold: options, lists, tolerances, hostile input."""

from __future__ import annotations

from fractions import Fraction

import pytest

from dipo_eval.errors import UserError
from dipo_eval.grading import Verdict, check_gold, grade_math
from dipo_eval.grading.math.grade import joined


def test_verdict_scores_only_correct_answers() -> None:
    assert [Verdict(status, "").score for status in ("correct", "wrong", "undecided")] == [1.0, 0.0, 0.0]


def test_no_answer_is_wrong_and_says_so() -> None:
    verdict = grade_math("I give up on this one, sorry.", "5")
    assert verdict == Verdict("wrong", "no answer found", None)


@pytest.mark.parametrize(
    ("answer", "tolerance", "status"),
    [
        ("4.3", "1e-1", "correct"),
        ("4.31", "1e-1", "wrong"),
        ("4.1", 0.1, "correct"),
        ("4.2", None, "correct"),
        ("4.3", None, "wrong"),
        (r"\frac{21}{5}", Fraction(0), "correct"),
        (r"3\sqrt{2}", "1e-1", "correct"),
        (r"3\sqrt{3}", "1e-1", "wrong"),
    ],
)
def test_tolerance_is_absolute(answer: str, tolerance: str | float | None, status: str) -> None:
    assert grade_math(rf"\boxed{{{answer}}}", "4.2", tolerance=tolerance).status == status


def test_a_gold_list_needs_all_its_answers_in_any_order() -> None:
    assert grade_math(r"\boxed{2, 1}", ["1", "2"]).status == "correct"
    assert grade_math(r"\boxed{1}", ["1", "2"]).status == "wrong"
    assert grade_math(r"\boxed{1}", ["$1$"]).status == "correct"
    assert joined(["1", "2"]) == "1, 2"


def test_any_of_accepts_one_alternative() -> None:
    assert grade_math(r"\boxed{2}", ["1", "2"], any_of=True).status == "correct"
    assert grade_math(r"\boxed{3}", ["1", "2"], any_of=True).status == "wrong"
    assert grade_math(r"\boxed{9**9**9}", ["1", "2"], any_of=True).status == "undecided"


@pytest.mark.parametrize(
    "gold", ["42", r"\frac{1}{2}", ["1", "2"], r"(-\infty, 0]", r"\text{east}", r"\emptyset", "[1, 2)"]
)
def test_good_golds_pass(gold: object) -> None:
    check_gold(gold)


@pytest.mark.parametrize(
    "gold",
    ["", " ", "$$", [], [""], None, 42, ["1", 2], r"\frac{1}{2", "(1,2", "x" * 5000, "9**9**9", "99999999!"],
    ids=lambda gold: repr(gold)[:20],
)
def test_bad_golds_raise_one_line(gold: object) -> None:
    with pytest.raises(UserError) as error:
        check_gold(gold)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("gold answer: ")


@pytest.mark.parametrize("answer", ["9**9**9", "99999999!", "5^{5^{5^{5^5}}}", "((2^{9999})^{9999})^{9999}"])
def test_numbers_too_large_to_evaluate_are_undecided_at_once(answer: str) -> None:
    verdict = grade_math(rf"\boxed{{{answer}}}", "5")
    assert (verdict.status, verdict.reason) == ("undecided", "too large to evaluate")


HOSTILE = {
    "10 MB of letters": "a" * 10_000_000,
    "10 MB of digits": r"\boxed{" + "1" * 10_000_000 + "}",
    "1.4 million open boxes": r"\boxed{" * 1_400_000,
    "a million statements": "answer is " * 1_000_000,
    "a million half statements": "answer to " * 1_000_000,
    "deep parentheses": r"\boxed{" + "(" * 1900 + "1" + ")" * 1900 + "}",
    "deep braces": r"\boxed{" + "{" * 1900 + "1" + "}" * 1900 + "}",
    "deep fractions": r"\boxed{" + r"\frac{1}{" * 300 + "1" + "}" * 300 + "}",
    "deep tuples": r"\boxed{" + "(1," * 1000 + "2" + ")" * 1000 + "}",
    "long sum": r"\boxed{" + "1+" * 1900 + "1}",
    "many minus signs": r"\boxed{" + "-" * 3900 + "1}",
    "tower": r"\boxed{" + "2^" * 450 + "2}",
    "factorials": r"\boxed{3" + "!" * 450 + "}",
    "relations": r"\boxed{" + "1<x" * 900 + "}",
    "unions": r"\boxed{" + r"(1,2)\cup" * 400 + "(1,2)}",
    "surrogates and nulls": "\\boxed{\0\ud800 5}",
    "other digits": "\\boxed{\u0663}",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("gold", ["42", r"\sqrt{2}", "1,2", "[1,2)", "x+1"])
def test_hostile_responses_are_never_correct_and_never_raise(name: str, gold: str) -> None:
    assert grade_math(HOSTILE[name], gold).status in ("wrong", "undecided")


def test_code_in_an_answer_is_never_run(tmp_path) -> None:
    mark = tmp_path / "ran"
    for code in (
        f"__import__('os').system('touch {mark}')",
        f"exec(\"open('{mark}', 'w')\")",
        f"$(touch {mark})",
    ):
        for gold in ("7", "x+1", r"\sqrt{2}"):
            assert grade_math(rf"\boxed{{{code}}}", gold).status != "correct"
    assert not mark.exists()
