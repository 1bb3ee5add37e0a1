r"""Minerva's OCWCourses: 272 undergraduate problems of MIT OpenCourseWare (Lewkowycz et al. 2022, arXiv 2206.14858).

Row of minerva.jsonl (this one is made up in its style):
    {"id": "minerva-0", "question": "Each of two wires carries 2.0 A ... Give the force per metre in N/m, to two
     significant figures.", "answer": "1.6e-5"}
Golds are numbers (also as 4.5e13), expressions and equations. A number may be off as far as in the checker that the
literature uses (OCWCourses in DeepSeek-Math, evaluation/eval/ocwcourses_eval_utils.py, numeric_equality, which is
numpy.isclose): by a hundred-thousandth of the gold, and by a hundredth where the gold is at most 1e-8 in size. That
is far less than the last digit of most golds: an answer rounded otherwise than the gold is wrong there and here.
Expressions and equations are compared as everywhere here, where that checker compares texts.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from dipo_eval.grading.math.normalize import clean
from dipo_eval.grading.math.quantity import parse_number
from dipo_eval.suites.base import Item, Suite
from dipo_eval.suites.data_file import DataFile, Record
from dipo_eval.suites.hub import HubData
from dipo_eval.suites.math_file import grade_item, load_math_file


def _row(row: Record, number: int) -> Record:
    return {"id": f"minerva-{number - 1}", "question": row["question"], "answer": row["answer"]}


DATA = DataFile("minerva.jsonl", None, HubData("math-ai/minervamath", "test", _row, 272))


def _meta(record: Record) -> Record:
    number = parse_number(clean(record["answer"])) if isinstance(record["answer"], str) else None
    if not number:  # an expression, or 0, where a share of the gold is nothing
        return {}
    share = Fraction(1, 100) if abs(number) <= Fraction(1, 10**8) else Fraction(1, 10**5)
    return {"tolerance": str(abs(number) * share)}


def _load(data_dir: Path | None, limit: int | None, seed: int) -> list[Item]:
    return load_math_file(data_dir, DATA, limit, seed, extra_meta=_meta)


SUITE = Suite(
    name="minerva",
    source="OCWCourses of Minerva (Lewkowycz et al. 2022), math-ai/minervamath on the hub",
    license="problem text: MIT OpenCourseWare, CC BY-NC-SA 4.0",
    metric="avg@k",
    load=_load,
    grade=grade_item,
    data=DATA,
)
