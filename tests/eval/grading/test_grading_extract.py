"""Where the final answer is found."""

from __future__ import annotations

import pytest

from dipo_eval.grading.math.extract import extract_answer


@pytest.mark.parametrize(
    ("response", "answer", "how"),
    [
        (r"so \boxed{\frac{1}{2}}.", r"\frac{1}{2}", "boxed"),
        (r"\boxed{1} then \boxed{2}", "2", "boxed"),
        (r"\boxed{2} and then \boxed{3", "2", "boxed"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}", "boxed"),
        (r"\boxed{\left\{1,2\right.}", r"\left\{1,2\right.", "boxed"),
        (r"\boxed{1}, \boxed{2}", "1, 2", "boxed"),
        (r"$x=\boxed{1}$ or $x=\boxed{2}$", "1, 2", "boxed"),
        (r"\boxed{1}. Next, \boxed{2}", "2", "boxed"),
        (r"\fbox{7}", "7", "boxed"),
        (r"\boxed 5", "5", "boxed"),
        ("He sells 9.\n#### 18", "18", "stated"),
        ("**Answer:** 42", "42", "stated"),
        ("**Answer**: 42", "42", "stated"),
        ("**Final Answer: 42**", "42", "stated"),
        ("The answer is: $x = 3.5$, since 7/2 = 3.5.", "x = 3.5", "stated"),
        ("The final answer is **3.5**. It took 2 steps.", "3.5", "stated"),
        ("the answer to the question is 42", "42", "stated"),
        ("The answer is 41. No: the answer is 42.", "42", "stated"),
        ("The answer is $5$ or $6$.", "$5$ or $6$", "stated"),
        ("Answer:\n42", "42", "stated"),
        (r"\dfrac{9}{7}", r"\dfrac{9}{7}", "bare"),
        ("  42\n", "42", "bare"),
    ],
)
def test_found(response: str, answer: str, how: str) -> None:
    found = extract_answer(response)
    assert (found.text, found.how) == (answer, how)


@pytest.mark.parametrize(
    "response",
    ["", "   ", "I do not know what it is.", "First line 5\nsecond line 6", r"\boxed{1", "####", "answer:"],
)
def test_nothing_found(response: str) -> None:
    assert extract_answer(response).text is None


def test_only_the_end_of_a_long_response_is_searched() -> None:
    assert extract_answer(r"\boxed{1}" + "x" * 300_000).text is None
    assert extract_answer("x" * 10_000_000 + r"\boxed{1}").text == "1"
