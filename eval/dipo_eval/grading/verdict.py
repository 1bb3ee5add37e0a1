"""The one verdict that training rewards and evaluation share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["correct", "wrong", "undecided"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A grader's verdict on one response.

    ``undecided``: the grader could not decide (a time limit, a worker that died, an answer too large to evaluate); it
    scores 0 and has a column of its own. ``extracted``: the answer that was graded, None where there is none.
    """

    status: Status
    reason: str
    extracted: str | None = None

    @property
    def score(self) -> float:
        """1.0 for a correct answer and 0.0 for anything else, undecided included."""
        return 1.0 if self.status == "correct" else 0.0
