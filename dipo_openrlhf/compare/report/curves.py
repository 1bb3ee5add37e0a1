"""Curves over generated tokens: the mean over seeds of each method with its 95% band."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats

from dipo_eval.board import numbers
from dipo_eval.board.charts.chart import Chart, Series, Values
from dipo_openrlhf.compare.cell import Trained
from dipo_openrlhf.compare.held_out import Scores
from dipo_openrlhf.compare.referee import Table, TaskResult

BINS = 20  # of the budget
COLOURS = ("blue", "orange", "green", "red", "purple", "sky", "ink", "grey")
BANDS = "Means over seeds, bands are 95% intervals over seeds."
X_LABEL = "thousand tokens generated"

Step = dict[str, Any]


def charts(result: TaskResult, budget_tokens: int) -> list[Chart]:
    """The charts of one task; those of DiPO alone only where an entry acts on groups."""
    runs = result.runs
    found = [
        evaluation_chart("Held-out accuracy", "accuracy", runs, lambda one: one.accuracy, fmt=numbers.percent),
        step_chart("Accuracy in training", "accuracy", runs, budget_tokens, _value("accuracy"), numbers.percent),
        step_chart("Entropy", "nats a token", runs, budget_tokens, _value("entropy"), from_zero=True),
        evaluation_chart(
            "Distinct answers", "of a problem's samples", runs, lambda one: sum(one.distinct) / len(one.distinct)
        ),
        step_chart(
            "Groups without a gradient", "share", runs, budget_tokens, _value("zero_gradient_share"),
            numbers.percent, from_zero=True,
        ),
        evaluation_chart("Perplexity gap", "incorrect / correct", runs, perplexity_gap),
        evaluation_chart("Perplexity of incorrect responses", "perplexity", runs, lambda one: one.ppl_error),
    ]  # fmt: skip
    acting = {name: by_seed for name, by_seed in runs.items() if name in result.acting}
    for direction, words in (
        ("hard", "All-incorrect groups acted on"),
        ("easy", "All-correct groups acted on"),
    ):
        if acting:
            share = _fired(direction)
            found.append(
                step_chart(words, "share", acting, budget_tokens, share, numbers.percent, from_zero=True)
            )
    return found


def perplexity_gap(scores: Scores) -> float | None:
    """Perplexity of incorrect over correct responses: above 1, incorrect ones are less sure."""
    if scores.ppl_correct is None or scores.ppl_error is None:
        return None
    return scores.ppl_error / scores.ppl_correct


def evaluation_chart(
    title: str, unit: str, runs: Table, value: Callable[[Scores], float | None], **options: Any
) -> Chart:
    """A figure of the held-out evaluations; their places are those of the plan, in tokens."""
    most = max(len(run.evaluations) for by_seed in runs.values() for run in by_seed.values())
    budget = max(run.evaluations[-1][0] for by_seed in runs.values() for run in by_seed.values())
    xs = [budget * i / (most - 1) / 1000 for i in range(most)]
    most_value = 1.0 if options.get("fmt") is numbers.percent else math.inf
    series = []
    for name, by_seed in runs.items():
        rows = [_stretched([value(one) for _, one in run.evaluations], most) for run in by_seed.values()]
        series.append(_series(runs, name, rows, most_value))
    return Chart(title, unit, xs, series, note=BANDS, x_label=X_LABEL, **options)


def step_chart(
    title: str,
    unit: str,
    runs: Table,
    budget_tokens: int,
    value: Callable[[Step], float | None],
    fmt: Callable[[float | None], str] = numbers.plain,
    **options: Any,
) -> Chart:
    """A figure of the training steps, averaged within twentieths of the budget."""
    xs = [budget_tokens * (i + 0.5) / BINS / 1000 for i in range(BINS)]
    most_value = 1.0 if fmt is numbers.percent else math.inf
    series = [
        _series(runs, name, [_binned(run, budget_tokens, value) for run in by_seed.values()], most_value)
        for name, by_seed in runs.items()
    ]
    return Chart(title, unit, xs, series, fmt=fmt, note=BANDS, x_label=X_LABEL, **options)


def _value(key: str) -> Callable[[Step], float | None]:
    return lambda step: step.get(key)


def _fired(direction: str) -> Callable[[Step], float | None]:
    def share(step: Step) -> float | None:
        groups = step[f"dipo/groups_{direction}"]
        return step[f"dipo/fired_{direction}"] / groups if groups else None

    return share


def _binned(run: Trained, budget_tokens: int, value: Callable[[Step], float | None]) -> Values:
    sums, counts = [0.0] * BINS, [0] * BINS
    for step in run.steps:
        found = value(step)
        if found is not None and math.isfinite(found):
            place = min(BINS - 1, int((step["tokens"] - 1) * BINS / budget_tokens))
            sums[place] += found
            counts[place] += 1
    return [total / count if count else None for total, count in zip(sums, counts, strict=True)]


def _stretched(values: Values, most: int) -> Values:
    """A run whose last steps passed several places at once has fewer evaluations: its last one stays the last."""
    return [*values[:-1], *[None] * (most - len(values)), values[-1]]


def _series(runs: Table, name: str, rows: Sequence[Values], most_value: float) -> Series:
    """The mean over seeds with its band within what the figure can be."""
    index = list(runs).index(name)
    middle, low, high = [], [], []
    for column in zip(*rows, strict=True):
        known = [value for value in column if value is not None]
        mean = float(np.mean(known)) if known else None
        half = _half_width(known)
        middle.append(mean)
        low.append(None if mean is None or half is None else max(0.0, mean - half))
        high.append(None if mean is None or half is None else min(most_value, mean + half))
    colour = COLOURS[index % len(COLOURS)]
    return Series(name, middle, colour, low, high, dashed=index >= len(COLOURS), sparse=True)


def _half_width(values: Sequence[float]) -> float | None:
    """Half a 95% interval of the mean over seeds by Student's t; None below two."""
    if len(values) < 2:
        return None
    return float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))
