"""What stands beside a value belongs to it: an inequality's rest, more values, a scale word, a sign before the box."""

from __future__ import annotations

import pytest

from dipo_eval.grading import grade_math

WRONG = [
    (r"-\boxed{5+3}", "-2"),
    (r"\boxed{x+1}^2", "x+1^2"),
    (r"\boxed{5+3}/7", "5+3/7"),
    (r"-\boxed{-6}", "-6"),
    ("\\boxed{m \\le 0 \\text{ or } m \\ge 2}", "m \\le 0\\text{ or } m > 2"),
    ("\\boxed{m<-1, m>3}", "m<-1"),
    ("\\boxed{m = 0\\text{ or }m > 3}", "m=0"),
    ("\\boxed{m = 0\\text{ or }m > 3}", "0"),
    ("\\boxed{1, 2, k > 3}", "1,2"),
    ("\\boxed{-1<m<1, m>0}", "(-1,1)"),
    ("\\boxed{(-\\infty,-2), k > 2}", "(-\\infty,-2)"),
    ("\\boxed{x=k\\pi}", "x=k\\pi, k \\in \\mathbb{Z}, x=\\frac{\\pi}{3}+2k\\pi, k\\in\\mathbb{Z}"),
    ("\\boxed{f(x)=0}", "f(x)=0 \\text{ for all } x \\text{ and } f(x)=x \\text{ for all } x"),
    ("\\boxed{f(x)=x \\text{ for all } x\\text{ or }f(x)=-x \\text{ for all } x}", "f(x)=x"),
    ("\\boxed{5 \\text{ where } x>0 \\text{ and } 6 \\text{ where } x<0}", "5"),
    ("\\boxed{2 \\text{ for all } x>0, 3 \\text{ for all } x<0}", "2"),
    ("\\boxed{0 \\text{ for all } x\\text{ or }1}", "0"),
    ("The answer is $6$ thousand dollars.", "6"),
    ("The answer is $2.5$ million.", "2.5"),
    ("Answer: $6$ dozen", "6"),
    ("The answer is $6$ to $7$ hours.", "6"),
    ("The answer is $6$\u2013$7$", "6"),
    ("The answer is $6$; $7$", "6"),
    ("**Final Answer:** $6$ or maybe $7$", "6"),
    ("The answer is $6$ (or $7$).", "6"),
    ("The answer is 6 (or 7).", "6"),
    ("The answer is $6$ \u00d7 $10^3$", "6"),
    ("The answer is $6$π", "6"),
    ("The answer is $6$x", "6"),
    ("The answer is $6$ remainder $2$", "6"),
    ("The answer is $6$ over $7$", "6"),
    ("The answer is $6$ squared", "6"),
    ("The answer is $6$ : $7$", "6"),
    ("The answer is $6$ hours and 30 minutes.", "6"),
    ("The answer is $6$ * 10", "6"),
    ("-\\boxed{6}", "6"),
    ("$x = -\\boxed{6}$", "6"),
    ("\\boxed{6}/7", "6"),
    ("\\boxed{6}\\pi", "6"),
    ("\\boxed{6} million", "6"),
]
RIGHT = [
    (r"-\boxed{5+3}", "-8"),
    (r"\boxed{x+1}^2", "(x+1)^2"),
    (r"\boxed{2.5} million", "2500000"),
    (r"-\boxed{\frac{1}{2}}", r"-\frac12"),
    ("The answer is $6$ thousand dollars.", "6000"),
    ("The answer is $2.5$ million.", "2500000"),
    ("-\\boxed{6}", "-6"),
    ("\\boxed{6}\\pi", "6\\pi"),
    ("\\boxed{6}/7", "\\frac67"),
    ("- \\boxed{6}", "6"),
    ("The answer is $6$.", "6"),
    ("The answer is $6$!", "6"),
    ("The answer is **$6$**", "6"),
    ("The answer is $6$ because 2 and 4 are even.", "6"),
    ("The answer is $6$ - this follows from (1).", "6"),
    ("The answer is $6$: we add.", "6"),
    ("The answer is $6$ cm", "6"),
    ("The answer is $6$cm", "6"),
    ("\\boxed{n^2, n \\ge 1}", "n^2"),
    ("\\boxed{k\\pi, k \\in \\mathbb{Z}}", "k\\pi"),
    ("\\boxed{2^n \\text{ for all } n}", "2^n"),
    ("\\(\\boxed{6}\\)", "6"),
    ("$$\\boxed{6}$$ units", "6"),
    ("\\boxed{f(x)=x \\text{ for all } x \\in \\mathbb{R}}", "f(x)=x"),
    ("\\boxed{k<-2 \\text{ or } k>2}", "(-\\infty,-2)\\cup(2,\\infty)"),
    ("The answer is $5$ or $6$", "5,6"),
    ("The answer is $6$ (six)", "6"),
    ("The answer is $x^2$ + $C$.", "x^2+C"),
]


@pytest.mark.parametrize(("response", "gold"), WRONG)
def test_part_of_an_answer_is_not_the_answer(response: str, gold: str) -> None:
    assert grade_math(response, gold).status != "correct"


@pytest.mark.parametrize(("response", "gold"), RIGHT)
def test_what_is_only_beside_it_changes_nothing(response: str, gold: str) -> None:
    assert grade_math(response, gold).status == "correct"
