r"""Minerva's OCWCourses: 272 undergraduate problems of MIT OpenCourseWare (Lewkowycz et al. 2022, arXiv 2206.14858).

Row of minerva.jsonl (this one is made up in its style):
    {"id": "minerva-0", "question": "Each of two wires carries 2.0 A ... Give the force per metre in N/m, to two
     significant figures.", "answer": "1.6e-5"}
Golds are numbers (also as 4.5e13), expressions and equations. A number's tolerance is that of numeric_equality in
DeepSeek-Math's ocwcourses_eval_utils.py: 1e-5 of the gold, and 1e-2 of it where it is at most 1e-8 in size, less than the
last digit of most golds. Expressions and equations are compared by our math grader; that checker compares strings.
"""

from __future__ import annotations

from fractions import Fraction

from dipo_eval.grading.math.normalize import clean
from dipo_eval.grading.math.plain_numbers import parse_number
from dipo_eval.suites.data_file import DataFile, Record
from dipo_eval.suites.hub import HubData, numbered
from dipo_eval.suites.math_file import math_suite


def _tolerance(record: Record) -> Record:
    number = parse_number(clean(record["answer"])) if isinstance(record["answer"], str) else None
    if not number:  # an expression, or 0, for which there is no relative tolerance
        return {}
    share = Fraction(1, 100) if abs(number) <= Fraction(1, 10**8) else Fraction(1, 10**5)
    return {"tolerance": str(abs(number) * share)}


SUITE = math_suite(
    name="minerva",
    source="OCWCourses of Minerva (Lewkowycz et al. 2022), math-ai/minervamath on the hub",
    license="problem text: MIT OpenCourseWare, CC BY-NC-SA 4.0",
    metric="avg@k",
    data=DataFile("minerva.jsonl", None, HubData("math-ai/minervamath", "test", numbered("minerva"), 272)),
    meta=_tolerance,
)
