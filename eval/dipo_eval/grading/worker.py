"""What a process of the grading pool answers: one function for each kind of task."""

from __future__ import annotations

from typing import Any

from dipo_eval.grading.calls.messages import answer_step, answer_task
from dipo_eval.grading.math.symbolic import answer_comparison
from dipo_eval.workers.server import Answer

_KINDS: dict[str, Answer] = {"compare": answer_comparison, "replay": answer_task, "step": answer_step}


def load(settings: dict[str, Any]) -> Answer:
    """The function that answers tasks, each with its "kind"."""
    import math_verify  # noqa: F401  (a second of imports, paid once)

    return _answer


def _answer(task: dict[str, Any]) -> dict[str, Any]:
    try:
        return _KINDS[task["kind"]](task)
    except (MemoryError, RecursionError):
        raise
    except Exception as error:
        return {"reason": f"not comparable: {type(error).__name__}"}
