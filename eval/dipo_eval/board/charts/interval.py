"""The small drawing beside an accuracy: a dot, its 95% interval, and the baseline as a tick."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

from dipo_eval.board.charts import svg
from dipo_eval.board.charts.scales import Scale
from dipo_eval.board.data.load import Metric

WIDTH, HEIGHT = 108, 18


def domain(metrics: Iterable[Metric | None]) -> tuple[float, float]:
    """The range of a suite's intervals with a margin, so that its drawings share one scale."""
    ends = [end for m in metrics if m for end in (m.value, m.low, m.high) if end is not None]
    if not ends:
        return (0.0, 1.0)
    low, high = min(ends), max(ends)
    margin = 0.06 * (high - low) or 0.01
    return (low - margin, high + margin)


def interval_drawing(metric: Metric | None, span: tuple[float, float], baseline: Metric | None) -> Markup:
    """An SVG that repeats the row's numbers, and so is hidden from screen readers."""
    if metric is None:
        return Markup("")
    x, middle = Scale(*span, 5, WIDTH - 5), HEIGHT / 2
    parts = [svg.line("grid", 0, WIDTH, middle, middle)]
    if baseline is not None:
        parts.append(svg.line("base", x(baseline.value), x(baseline.value), 1, HEIGHT - 1))
    if metric.low is not None and metric.high is not None:
        parts.append(svg.line("whisker blue", x(metric.low), x(metric.high), middle, middle))
    parts.append(svg.dot("dot blue", (x(metric.value), middle), "4"))
    return svg.element(
        '<svg class="mark" viewBox="0 0 {} {}" aria-hidden="true">{}</svg>',
        WIDTH, HEIGHT, Markup("").join(parts),
    )  # fmt: skip
