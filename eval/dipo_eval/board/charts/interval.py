"""The small drawing beside an accuracy: a dot, its 95% interval, and the baseline as a tick."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

from dipo_eval.board.charts.scales import Scale
from dipo_eval.board.data.load import Metric

WIDTH, HEIGHT = 108, 18


def domain(metrics: Iterable[Metric | None]) -> tuple[float, float]:
    """The range of a suite's intervals with some room, so that its marks share one scale."""
    ends = [end for m in metrics if m for end in (m.value, m.low, m.high) if end is not None]
    if not ends:
        return (0.0, 1.0)
    low, high = min(ends), max(ends)
    room = 0.06 * (high - low) or 0.01
    return (low - room, high + room)


def interval_mark(metric: Metric | None, span: tuple[float, float], baseline: Metric | None) -> Markup:
    """An SVG that says nothing the row's text does not say: hidden from screen readers."""
    if metric is None:
        return Markup("")
    x = Scale(*span, 5, WIDTH - 5)
    middle = HEIGHT / 2
    parts = [Markup('<line class="grid" x1="0" x2="{}" y1="{}" y2="{}"/>').format(WIDTH, middle, middle)]
    if baseline is not None:
        at = f"{x(baseline.value):.1f}"
        parts.append(Markup('<line class="base" x1="{}" x2="{}" y1="1" y2="{}"/>').format(at, at, HEIGHT - 1))
    if metric.low is not None and metric.high is not None:
        parts.append(
            Markup('<line class="whisker blue" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>').format(
                x(metric.low), x(metric.high), middle, middle
            )
        )
    parts.append(
        Markup('<circle class="dot blue" cx="{:.1f}" cy="{}" r="4"/>').format(x(metric.value), middle)
    )
    return Markup('<svg class="mark" viewBox="0 0 {} {}" aria-hidden="true">{}</svg>').format(
        WIDTH, HEIGHT, Markup("").join(parts)
    )
