"""What a harness is, and what it says about the samples of one suite."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from dipo_eval.errors import UserError

Row = Mapping[str, Any]
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class SampleScore:
    """A harness's scores of one sample, each in [0, 1] by its name.

    ``undecided`` says why there are none: a time limit, or a process that died. Such a sample counts 0 in every
    metric and stays in the denominator. ``reasons`` holds what the harness read, by score.
    """

    item_id: str
    sample: int
    scores: Mapping[str, float]
    reasons: Mapping[str, str] = field(default_factory=dict)
    undecided: str | None = None


@dataclass(frozen=True, slots=True)
class OfficialMetric:
    """One number of a harness. ``score`` names the sample score that our verdicts are compared with, None: none is.

    ``kind`` limits the comparison to samples of that kind (a category of BFCL).
    """

    value: float
    score: str | None = None
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class OfficialScore:
    """All that a harness says about one suite. ``method``: which of its tasks or checkers scored.

    ``left_out`` counts samples that it does not score at all; they are in no metric.
    """

    harness: str
    version: str
    method: str
    metrics: Mapping[str, OfficialMetric]
    samples: Sequence[SampleScore]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Harness:
    """A harness by its name on the command line.

    ``version`` raises UserError where it is not installed. ``score`` takes a suite's name and stored rows, and
    never raises on a response.
    """

    name: str
    version: Callable[[], str]
    covers: Callable[[str], bool]
    score: Callable[[str, Sequence[Row], Advance], OfficialScore]


def installed_version(package: str) -> str:
    """The version of a package. Raises UserError where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError as error:
        raise UserError(f"{package} is not installed: run `make setup`") from error


def mean(values: Sequence[float]) -> float:
    """The mean, 0 for no values."""
    return sum(values) / len(values) if values else 0.0
