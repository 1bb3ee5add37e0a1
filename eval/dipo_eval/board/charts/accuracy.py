"""Accuracy over training, one chart a suite, each run a line with its 95% band."""

from __future__ import annotations

from collections.abc import Sequence

from dipo_eval.board import numbers
from dipo_eval.board.charts.chart import Chart, Series
from dipo_eval.board.data.load import Metric, Result

UNLIKE = "Not all points were made alike: settings, items or graders differ, and so do not compare."
RUN_COLOURS = ("blue", "orange", "green", "purple", "sky", "red")


def accuracy_charts(results: Sequence[Result], baseline: tuple[str, str] | None = None) -> list[Chart]:
    """One chart for each suite that has a checkpoint with a step.

    Checkpoints without a step are in the table only, but for the baseline: a dashed line.
    """
    placed = [r for r in results if r.step is not None and r.accuracy is not None]
    runs = list(dict.fromkeys(r.run for r in placed))
    charts = []
    for suite in dict.fromkeys(r.suite for r in placed):
        of_suite = [r for r in placed if r.suite == suite]
        steps = sorted({r.step for r in of_suite if r.step is not None})
        series = [
            _series(run, RUN_COLOURS[i % len(RUN_COLOURS)], [r for r in of_suite if r.run == run], steps)
            for i, run in enumerate(runs)
        ]
        series += _baseline_line(results, suite, baseline, len(steps))
        n = max((r.accuracy.n or r.n_items or 0) for r in of_suite if r.accuracy)
        charts.append(
            Chart(
                title=suite,
                unit="accuracy",
                xs=[float(step) for step in steps],
                series=[s for s in series if any(v is not None for v in s.values)],
                fmt=numbers.percent,
                note=(f"{numbers.plural(n, 'item')}; bands are 95% intervals." if n else "")
                + _unlike(of_suite),
                cap=1.0,
            )
        )
    return charts


def _unlike(results: Sequence[Result]) -> str:
    """A warning where the points of a chart were not made alike."""
    return "" if len({result.made for result in results}) < 2 else f" {UNLIKE}"


def _baseline_line(
    results: Sequence[Result], suite: str, baseline: tuple[str, str] | None, n_steps: int
) -> list[Series]:
    return [
        Series("/".join(r.model_key), [r.accuracy.value] * n_steps, "ink", dashed=True)
        for r in results
        if r.suite == suite and r.model_key == baseline and r.step is None and r.accuracy
    ]


def _series(run: str, colour: str, results: Sequence[Result], steps: Sequence[int]) -> Series:
    by_step: dict[int, Metric] = {r.step: r.accuracy for r in results if r.step is not None and r.accuracy}
    found = [by_step.get(step) for step in steps]
    return Series(
        name=run,
        values=[m.value if m else None for m in found],
        colour=colour,
        low=[m.low if m else None for m in found],
        high=[m.high if m else None for m in found],
        dots=True,
        bridge=True,
    )
