"""math-verify with its own settings, as its README uses it: the gold in dollar signs, the complete response."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.grading.math.grade import joined
from dipo_eval.harness.base import Row, SecondGrader, second_grader

NAME = "math-verify"


def grader() -> AbstractContextManager[SecondGrader]:
    """math-verify's verdict on a stored row. Raises UserError where its gold is no answer of a math problem."""
    missing = f"{NAME} cannot be imported here; install {NAME} 0.9.0"
    return second_grader("dipo_eval.harness.math_verify_worker:load", missing, _task)


def _task(row: Row) -> dict[str, Any]:
    gold = row["gold"]
    answers = gold if isinstance(gold, list) and gold else [gold]
    if not all(isinstance(one, str) for one in answers):
        raise UserError(f"{row['item_id']}: its gold is no answer of a math problem; {NAME} cannot grade it")
    return {"response": row["response"], "gold": joined(gold)}
