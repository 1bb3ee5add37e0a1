"""Verdicts on responses, many at a time, and what results.json says of the graded samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from dipo_eval.engines.base import TOO_LONG
from dipo_eval.grading import Verdict
from dipo_eval.runner.metrics import counts_from_samples, metrics_from_samples
from dipo_eval.runner.provenance import versions
from dipo_eval.suites import Item, Suite
from dipo_eval.workers.cores import usable_cores

A = TypeVar("A")
B = TypeVar("B")


def in_threads(work: Callable[[A], B], inputs: Iterable[A], advance: Callable[[int], None]) -> list[B]:
    """`work` of every input in order, one thread a core; the slow graders wait for worker processes."""

    def one(given: A) -> B:
        made = work(given)
        advance(1)
        return made

    with ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(one, inputs))


def verdict(grade: Callable[[str, Item], Verdict], response: str, finish_reason: str, item: Item) -> Verdict:
    """The suite's verdict; "wrong" where the prompt never fitted, also if no answer would be correct (irrelevance)."""
    if finish_reason == TOO_LONG:
        return Verdict("wrong", "the prompt fills the context")
    return grade(response, item)


def verdict_fields(found: Verdict) -> dict[str, Any]:
    """A verdict as the row of a sample holds it."""
    return {"status": found.status, "reason": found.reason, "extracted": found.extracted}


def measured(suite: Suite, rows: Sequence[Mapping[str, Any]], answered: Mapping[str, str]) -> dict[str, Any]:
    """The part of results.json that follows from the samples, and the versions it was made with.

    `answered`: versions of what generated, such as the GPU's name; versions of packages installed here override them.
    """
    metrics = metrics_from_samples(rows)
    return {
        "metrics": metrics,
        **({"overall": suite.overall(metrics)} if suite.overall else {}),
        "counts": counts_from_samples(rows),
        "versions": {**answered, **versions()},
    }
