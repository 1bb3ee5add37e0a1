"""The leaderboard's rows, and the one-line verdict of each run's last checkpoint on each suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dipo_eval.board import numbers
from dipo_eval.board.data.load import Metric, Result
from dipo_eval.board.table.comparison import Difference, apart, difference, differences_among

MAX_PAIRS = 60_000
"""Above this many pairs the page offers one baseline instead of a choice: each pair takes 25 bytes of it."""

MAX_DUELS = 12

Differences = dict[tuple[int, int], Difference | None]
"""(index of the candidate, index of the baseline) in the list of results -> their difference."""


@dataclass(frozen=True)
class Row:
    """One line of the leaderboard. `apart`: why it cannot be compared with the baseline, empty where it can."""

    index: int
    result: Result
    accuracy: Metric | None
    difference: Difference | None
    is_baseline: bool
    apart: str = ""

    @property
    def n_items(self) -> int | None:
        """Items measured."""
        return self.accuracy.n if self.accuracy and self.accuracy.n is not None else self.result.n_items

    @property
    def n_samples(self) -> int | None:
        """Samples for each item."""
        return self.accuracy.k if self.accuracy and self.accuracy.k else self.result.n_samples_per_item


@dataclass(frozen=True)
class Headline:
    """The last checkpoint of a run on one suite, in a few words."""

    suite: str
    run: str
    checkpoint: str
    accuracy: Metric
    difference: Difference | None
    baseline: str | None
    apart: str = ""


@dataclass(frozen=True)
class RunComparison:
    """The last checkpoints of two runs on one suite: `ours` minus `theirs`, or why they are `apart`."""

    suite: str
    ours: str
    theirs: str
    difference: Difference | None
    apart: str = ""


def all_differences(results: Sequence[Result], baseline: tuple[str, str] | None) -> Differences:
    """Every pair on the same suite, or only the pairs with `baseline` where there are too many."""
    found: Differences = {}
    for suite in dict.fromkeys(result.suite for result in results):
        members = [i for i, result in enumerate(results) if result.suite == suite]
        if len(members) * (len(members) - 1) <= MAX_PAIRS - len(found):
            among = differences_among([results[i] for i in members])
            found |= {(members[a], members[b]): shift for (a, b), shift in among.items()}
        else:
            bases = [j for j in members if results[j].model_key == baseline]
            found |= {(i, j): difference(results[i], results[j]) for j in bases for i in members if i != j}
    return found


def rows(
    results: Sequence[Result],
    baseline: tuple[str, str] | None,
    differences: Mapping[tuple[int, int], Difference | None],
) -> list[Row]:
    """One row a result, in the results' order."""
    at_baseline = {r.suite: i for i, r in enumerate(results) if r.model_key == baseline}
    return [
        Row(
            index=i,
            result=result,
            accuracy=result.accuracy,
            difference=differences.get((i, at_baseline.get(result.suite, -1))),
            is_baseline=result.model_key == baseline,
            apart=apart(result, results[at_baseline[result.suite]]) if result.suite in at_baseline else "",
        )
        for i, result in enumerate(results)
    ]


def headlines(table: Sequence[Row], baseline: tuple[str, str] | None) -> list[Headline]:
    """The LAST checkpoint of each run and suite: choosing the best of many would promise too much."""
    last: dict[tuple[str, str], Row] = {}
    for row in table:
        if row.accuracy is not None:
            last[(row.result.run, row.result.suite)] = row
    return [
        Headline(
            suite=row.result.suite,
            run=row.result.run,
            checkpoint=row.result.checkpoint,
            accuracy=row.accuracy,
            difference=row.difference,
            baseline=None if row.is_baseline or baseline is None else "/".join(baseline),
            apart=row.apart,
        )
        for row in last.values()
        if row.accuracy is not None and (not row.is_baseline or len(last) == 1)
    ]


def run_comparisons(table: Sequence[Row]) -> list[RunComparison]:
    """Every run's last checkpoint against the first run's, on each suite: how methods compare."""
    # A run that is no more than the baseline has its place in every row already.
    trained = [row for row in table if row.result.statuses and not row.is_baseline]
    last = {(row.result.suite, row.result.run): row.result for row in trained}
    found: list[RunComparison] = []
    for suite in dict.fromkeys(suite for suite, _ in last):
        first, *others = [result for (of, _), result in last.items() if of == suite]
        for other in others:
            shift, why = difference(other, first), apart(other, first)
            if shift is not None or why:
                found.append(
                    RunComparison(suite, "/".join(other.model_key), "/".join(first.model_key), shift, why)
                )
    return found[:MAX_DUELS]


@dataclass(frozen=True)
class OfficialScore:
    """One number of another harness beside ours; `differ` samples it scores otherwise."""

    name: str
    value: float
    differ: int | None


def official_scores(result: Result) -> list[OfficialScore]:
    """The scores of other harnesses that say what ours says, else all that they have; names as short as they can be."""
    return [
        OfficialScore(f"{one.harness} {name.rpartition(',')[2]}", metric.value, metric.differ)
        for one in result.official
        for name, metric in (one.compared() or one.metrics).items()
    ]


def difference_words(found: Difference | None) -> tuple[str, str, str]:
    """(points, interval and p, verdict) as text; empty strings where there is no comparison."""
    if found is None:
        return ("", "", "")
    detail = f"{numbers.points_interval(found.low, found.high)}, {numbers.p_value(found.p_value)}"
    return (numbers.points(found.mean), detail, found.verdict)
