"""All that the page, the Markdown and the CSV are made from: the leaderboard's rows, and runs compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dipo_eval.board.data.load import Cache, Metric, Result, load_results
from dipo_eval.board.data.official import OfficialMetric
from dipo_eval.board.data.runlog import RunLog
from dipo_eval.board.table.comparison import (
    Difference,
    all_pairs,
    choose_baseline,
    difference,
    not_comparable,
)
from dipo_eval.errors import UserError

MAX_PAIRS = 60_000
"""Above this many pairs the page offers one baseline instead of a choice: each pair takes 25 bytes of it."""

MAX_RUN_COMPARISONS = 12

Differences = dict[tuple[int, int], Difference | None]
"""(index of the candidate, index of the baseline) in the list of results -> their difference."""


@dataclass(frozen=True)
class Row:
    """One line of the leaderboard. `not_comparable`: why not with the baseline, empty where it is."""

    index: int
    result: Result
    difference: Difference | None
    is_baseline: bool
    not_comparable: str = ""

    @property
    def accuracy(self) -> Metric | None:
        """The suite's main number."""
        return self.result.accuracy

    @property
    def n_items(self) -> int | None:
        """Items measured."""
        return self.accuracy.n if self.accuracy and self.accuracy.n is not None else self.result.n_items

    @property
    def n_samples(self) -> int | None:
        """Samples for each item."""
        return self.accuracy.k if self.accuracy and self.accuracy.k else self.result.n_samples_per_item


@dataclass(frozen=True)
class RunComparison:
    """The last checkpoints of two runs on one suite: `ours` minus `theirs`, or why they are `not_comparable`."""

    suite: str
    ours: str
    theirs: str
    difference: Difference | None
    not_comparable: str = ""


def all_differences(results: Sequence[Result], baseline: tuple[str, str] | None) -> Differences:
    """Every pair on the same suite, or only the pairs with `baseline` where there are too many."""
    found: Differences = {}
    for suite in dict.fromkeys(result.suite for result in results):
        members = [i for i, result in enumerate(results) if result.suite == suite]
        if len(members) * (len(members) - 1) <= MAX_PAIRS - len(found):
            among = all_pairs([results[i] for i in members])
            found |= {(members[a], members[b]): shift for (a, b), shift in among.items()}
        else:
            bases = [j for j in members if results[j].model_key == baseline]
            found |= {(i, j): difference(results[i], results[j]) for j in bases for i in members if i != j}
    return found


def rows(results: Sequence[Result], baseline: tuple[str, str] | None, found: Differences) -> list[Row]:
    """One row a result, in the results' order."""
    at_baseline = {r.suite: i for i, r in enumerate(results) if r.model_key == baseline}
    bases = [at_baseline.get(result.suite) for result in results]
    return [
        Row(
            index=i,
            result=result,
            difference=None if base is None else found.get((i, base)),
            is_baseline=result.model_key == baseline,
            not_comparable="" if base is None else not_comparable(result, results[base]),
        )
        for i, (result, base) in enumerate(zip(results, bases, strict=True))
    ]


def headlines(table: Sequence[Row]) -> list[Row]:
    """The LAST checkpoint of each run and suite: the best of many would be too high by chance."""
    last = {(row.result.run, row.result.suite): row for row in table if row.accuracy is not None}
    return [row for row in last.values() if not row.is_baseline or len(last) == 1]


def run_comparisons(table: Sequence[Row]) -> list[RunComparison]:
    """Every run's last checkpoint against the first run's, on each suite: how methods compare."""
    # A run that is only the baseline is compared in every row already.
    trained = [row for row in table if row.result.statuses and not row.is_baseline]
    last = {(row.result.suite, row.result.run): row.result for row in trained}
    found: list[RunComparison] = []
    for suite in dict.fromkeys(suite for suite, _ in last):
        first, *others = [result for (of, _), result in last.items() if of == suite]
        for other in others:
            shift, why = difference(other, first), not_comparable(other, first)
            if shift is not None or why:
                ours, theirs = ("/".join(one.model_key) for one in (other, first))
                found.append(RunComparison(suite, ours, theirs, shift, why))
    return found[:MAX_RUN_COMPARISONS]


def official_scores(result: Result) -> list[tuple[str, OfficialMetric]]:
    """(short name, score) of other harnesses."""
    return [pair for one in result.official for pair in one.scores().items()]


@dataclass(frozen=True)
class BoardData:
    """Results, problems of their files, and their comparison with a baseline."""

    results: list[Result]
    problems: list[str]
    baseline: tuple[str, str] | None
    differences: Differences
    table: list[Row]


def read_board(
    results_dir: Path, runs: Sequence[RunLog], baseline: str | None = None, cache: Cache | None = None
) -> BoardData:
    """Load and compare; UserError where there are neither results nor runs, or the baseline is unknown."""
    results, problems = load_results(results_dir, cache)
    if not results and not runs:
        detail = f" ({problems[0]})" if problems else ""
        raise UserError(
            f"no results under {results_dir}{detail}: expected RUN/CHECKPOINT/SUITE/results.json; "
            "run `dipo eval` first or name a training run with --run-dir"
        )
    try:
        chosen = choose_baseline(results, baseline)
    except ValueError as error:
        raise UserError(f"--baseline: {error}") from None
    found = all_differences(results, chosen)
    problems += [problem for run in runs for problem in run.problems]
    return BoardData(results, problems, chosen, found, rows(results, chosen, found))
