"""The four possible results of comparing two answers, and how they combine."""

from __future__ import annotations

import enum
from collections.abc import Iterable


class Outcome(enum.Enum):
    """Result of one comparison; UNKNOWN asks for a stronger method, TOO_LARGE means that none would help."""

    EQUAL = "equal"
    DIFFERENT = "different"
    UNKNOWN = "unknown"
    TOO_LARGE = "too large to evaluate"


def all_of(outcomes: Iterable[Outcome]) -> Outcome:
    """EQUAL if all are; DIFFERENT as soon as one is; otherwise an undecided one, TOO_LARGE first."""
    return _combined(outcomes, Outcome.DIFFERENT, Outcome.EQUAL)


def any_of(outcomes: Iterable[Outcome]) -> Outcome:
    """EQUAL as soon as one is; DIFFERENT if all are; otherwise an undecided one, TOO_LARGE first."""
    return _combined(outcomes, Outcome.EQUAL, Outcome.DIFFERENT)


def _combined(outcomes: Iterable[Outcome], decisive: Outcome, default: Outcome) -> Outcome:
    undecided: Outcome | None = None
    for outcome in outcomes:
        if outcome is decisive:
            return outcome
        if outcome is not default and undecided is not Outcome.TOO_LARGE:
            undecided = outcome
    return undecided or default
