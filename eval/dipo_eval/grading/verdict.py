"""The one verdict that training rewards and evaluation share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["correct", "wrong", "undecided"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a grader says about one response.

    ``undecided`` means that the grader could not tell (a time limit, a worker that died, an answer too large
    to evaluate): it scores 0 and is counted in a column of its own. ``extracted`` is the answer that was
    judged, or None where the response holds none.
    """

    status: Status
    reason: str
    extracted: str | None = None

    @property
    def score(self) -> float:
        """1.0 for a correct answer and 0.0 for anything else, undecided included."""
        return 1.0 if self.status == "correct" else 0.0
