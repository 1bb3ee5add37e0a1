"""Graders: one verdict (``verdict``) for the training reward and for evaluation.

``math``, ``calls`` and ``code`` decide one kind of answer each and import nothing of each other.
"""

from dipo_eval.grading.calls.grade import check_call_gold, grade_calls
from dipo_eval.grading.calls.multi_turn import grade_turns
from dipo_eval.grading.math.grade import check_gold, grade_math
from dipo_eval.grading.verdict import Verdict

__all__ = ["Verdict", "check_call_gold", "check_gold", "grade_calls", "grade_math", "grade_turns"]
