"""Graders: one verdict for the training reward and for evaluation."""

from dipo_eval.grading.math import check_gold, grade_math
from dipo_eval.grading.verdict import Verdict

__all__ = ["Verdict", "check_gold", "grade_math"]
