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
    """EQUAL if all are; DIFFERENT as soon as one is; otherwise the first that is undecided."""
    undecided: Outcome | None = None
    for outcome in outcomes:
        if outcome is Outcome.DIFFERENT:
            return outcome
        if outcome is not Outcome.EQUAL and undecided is not Outcome.TOO_LARGE:
            undecided = outcome
    return undecided or Outcome.EQUAL


def any_of(outcomes: Iterable[Outcome]) -> Outcome:
    """EQUAL as soon as one is; DIFFERENT if all are; otherwise an undecided one."""
    undecided: Outcome | None = None
    for outcome in outcomes:
        if outcome is Outcome.EQUAL:
            return outcome
        if outcome is not Outcome.DIFFERENT and undecided is not Outcome.TOO_LARGE:
            undecided = outcome
    return undecided or Outcome.DIFFERENT
