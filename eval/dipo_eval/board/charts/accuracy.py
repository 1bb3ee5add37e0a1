"""Accuracy over training, one chart a suite, each run a line with its 95% band."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from dipo_eval.board import numbers
from dipo_eval.board.charts.chart import Chart, Series
from dipo_eval.board.data.load import Metric, Result

UNLIKE = "Not all points are comparable: settings, items or graders differ."
RUN_COLOURS = ("blue", "orange", "green", "purple", "sky", "red")


def accuracy_charts(results: Sequence[Result], baseline: tuple[str, str] | None = None) -> list[Chart]:
    """One chart for each suite that has a checkpoint with a step.

    Checkpoints without a step are in the table only, but for the baseline: a dashed line.
    """
    placed = [r for r in results if r.step is not None and r.accuracy is not None]
    runs = list(dict.fromkeys(r.run for r in placed))
    charts = []
    for suite in dict.fromkeys(r.suite for r in placed):
        points = [r for r in placed if r.suite == suite]
        steps = sorted({r.step for r in points if r.step is not None})
        lines = [
            _series(run, colour, [r for r in points if r.run == run], steps)
            for run, colour in zip(runs, itertools.cycle(RUN_COLOURS), strict=False)
        ]
        lines += [
            Series("/".join(r.model_key), [r.accuracy.value] * len(steps), "ink", dashed=True)
            for r in results
            if r.suite == suite and r.model_key == baseline and r.step is None and r.accuracy
        ]
        shown = [line for line in lines if any(value is not None for value in line.values)]
        n = max((r.accuracy.n or r.n_items or 0) for r in points if r.accuracy)
        note = f"{numbers.plural(n, 'item')}; bands are 95% intervals." if n else ""
        note += f" {UNLIKE}" if len({r.made for r in points}) > 1 else ""
        xs = [float(step) for step in steps]
        charts.append(Chart(suite, "accuracy", xs, shown, fmt=numbers.percent, note=note, cap=1.0))
    return charts


def _series(run: str, colour: str, results: Sequence[Result], steps: Sequence[int]) -> Series:
    by_step: dict[int, Metric] = {r.step: r.accuracy for r in results if r.step is not None and r.accuracy}
    found = [by_step.get(step) for step in steps]
    values, low, high = ([getattr(m, end, None) for m in found] for end in ("value", "low", "high"))
    return Series(run, values, colour, low, high, sparse=True)
