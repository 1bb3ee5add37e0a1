"""What a harness is, what it reports on the samples of one suite, and a second grader's verdict on one sample.

Both run code that is not ours on a model's text, so each answers from a process that is killed at the time limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.grading.verdict import Verdict
from dipo_eval.workers.pool import WorkerPool
from dipo_eval.workers.process import Program

LIMIT_S = 10.0
"""Seconds for one sample, where a harness has no other limit."""
MEMORY_BYTES = 2 * 1024**3

Row = Mapping[str, Any]
Advance = Callable[[int], None]
SecondGrader = Callable[[Row], Verdict]


@dataclass(frozen=True, slots=True)
class SampleScore:
    """A harness's scores of one sample, each in [0, 1] by its name.

    ``undecided``: why there are none (a time limit, or a process that died). Such a sample counts 0 in every
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
    """All that a harness reports on one suite. ``method``: which of its tasks or checkers scored.

    ``left_out`` counts samples that it does not score at all; they are in no metric.
    """

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


def process(program: Program, missing: str) -> WorkerPool:
    """A harness's process, open while in the block. ``ask`` raises UserError(``missing``) where it cannot start."""
    return WorkerPool(lambda: program, start_error=lambda error: UserError(missing))


@contextmanager
def second_grader(load: str, missing: str, task: Callable[[Row], dict[str, Any]]) -> Iterator[SecondGrader]:
    """The verdicts of a process that answers ``task(row)``: undecided where it is late or its process died."""
    with process(Program(load, memory_bytes=MEMORY_BYTES), missing) as pool:

        def grade(row: Row) -> Verdict:
            reply = pool.ask(task(row), LIMIT_S)
            return Verdict(reply.get("status", "undecided"), reply["reason"], reply.get("extracted"))

        yield grade


def installed_version(package: str) -> str:
    """The version of a package. Raises UserError where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError as error:
        raise UserError(f"{package} is not installed: run `make setup`") from error


def mean(values: Sequence[float]) -> float:
    """The mean, 0 for no values."""
    return sum(values) / len(values) if values else 0.0
