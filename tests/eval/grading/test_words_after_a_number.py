"""Words after a number that change its value are no unit: parts, scales, negations, alternatives."""

from __future__ import annotations

import pytest

from dipo_eval.grading import grade_math
from dipo_eval.grading.math.changing_words import CHANGING, SCALES

FORMS = (
    r"\boxed{{{0}\text{{ {1}}}}}",
    r"\boxed{{{0} {1}}}",
    r"\boxed{{x = {0}\ \text{{{1}}}}}",
    "The answer is {0} {1}.",
    "The answer is ${0}$ {1}.",
    "**{0}** {1}.",
    "So she has {0} {1}.",
)
CHANGED = (
    "halves", "thirds", "fourths", "quarters", "fifths", "tenths", "twelfths", "hundredths", "thousandths",
    "millionths", "lakh", "crore", "bil", "score", "gross", "factorial", "doubled", "halved", "tripled",
    "dozen", "hundred", "thousands", "negative", "short", "loss", "inverse", "negated", "overdrawn",
    "million",
)  # fmt: skip
PHRASES = (
    "below zero",
    "degrees below zero",
    "dollars in the red",
    "in the red",
    "dollars short",
    "in debt",
    "short of ten",
    "and a half",
    "hundred dollars",
    "to the fourth power",
    "tenths of a second",
)


@pytest.mark.parametrize("words", [*CHANGED, *PHRASES])
@pytest.mark.parametrize("form", FORMS)
def test_a_changed_number_is_not_the_number(form: str, words: str) -> None:
    assert grade_math(form.format(3, words), "3").status != "correct"


@pytest.mark.parametrize("word", sorted(CHANGING | SCALES.keys()))
def test_no_word_that_changes_a_number_is_a_unit(word: str) -> None:
    assert grade_math(rf"\boxed{{7\text{{ {word}}}}}", "7").status != "correct"


@pytest.mark.parametrize(
    ("answer", "gold", "other"),
    [
        ("3 quarters", r"\frac34", r"\frac14"),
        ("5 thirds", r"\frac53", "15"),
        ("1 third", r"\frac13", "1"),
        ("3 tenths", "0.3", "30"),
        ("7 hundredths", "0.07", "700"),
        ("2 millionths", "0.000002", "2000000"),
        ("3 quarters of a mile", "0.75", "3"),
        ("3 lakh", "300000", "3000"),
        ("2 crore", "20000000", "2000000"),
        ("3 hundred dollars", "300", "3"),
    ],
)
def test_parts_and_scales_are_read(answer: str, gold: str, other: str) -> None:
    for response in (rf"\boxed{{\text{{{answer}}}}}", f"The answer is {answer}."):
        assert grade_math(response, gold).status == "correct"
        assert grade_math(response, other).status != "correct"


@pytest.mark.parametrize("scale", ["million", "thirds", "dozen"])
def test_a_scale_after_a_closed_form_counts(scale: str) -> None:
    assert grade_math(rf"\boxed{{\sqrt{{2}}\text{{ {scale}}}}}", r"\sqrt{2}").status != "correct"
    assert grade_math(r"\boxed{\sqrt{2}\text{ million}}", r"1000000\sqrt{2}").status == "correct"


@pytest.mark.parametrize(
    "words",
    [
        "eggs",
        "quarts",
        "seconds",
        "short stories",
        "negative integers",
        "fifth graders",
        "ten dollar bills",
        "pairs",
    ],
)
def test_units_are_still_taken_off(words: str) -> None:
    assert grade_math(rf"\boxed{{3\text{{ {words}}}}}", "3").status == "correct"


@pytest.mark.parametrize(
    "rest",
    [
        r"\text{ where the alternative is }6",
        r"\text{, where another option is }6",
        r"\text{ where it could be }6",
        r"\text{ where the other answer is six}",
        r", where 6 is right too",
        r"\text{ for all I know}",
        r"\text{ alternatively 6}",
        r"\text{ instead of }6",
    ],
)
def test_an_alternative_is_no_condition(rest: str) -> None:
    assert grade_math(rf"\boxed{{5{rest}}}", "5").status != "correct"


@pytest.mark.parametrize(
    "rest",
    [
        "because the negative root is rejected.",
        "and the negative root is rejected.",
        "dollars.",
        "rather than 6.",
    ],
)
def test_what_is_said_after_a_formula_is_no_part_of_it(rest: str) -> None:
    assert grade_math(f"The answer is $5$ {rest}", "5").status == "correct"
