"""Charts as inline SVG: readable without a script, about 10 kB each where plotly's bundle alone is 4.8 MB.

The colours are classes that board.css defines for light and dark. The exact numbers travel beside each chart
as JSON for charts.js, which draws the cross-hair, the read-out and the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from dipo_eval.board import numbers
from dipo_eval.board.charts import svg
from dipo_eval.board.charts.scales import Scale, log_ticks, nice_step, rounded_range, ticks
from dipo_eval.board.charts.svg import Point
from dipo_eval.board.embed import json_script

WIDTH, HEIGHT = 384, 222
LEFT, RIGHT, TOP, BOTTOM = 46, WIDTH - 12, 24, HEIGHT - 34  # of the area that holds the curves
X_LABEL = "training step"
LOG_FROM_RATIO = 30
"""With `may_be_log` the axis is logarithmic where the largest value is this many times the smallest."""

Format = Callable[[float | None], str]
Values = list[float | None]


@dataclass(frozen=True)
class Series:
    """One line or area: `values` in the chart's unit, one for each x; `low` and `high` draw a band."""

    name: str
    values: Values
    colour: str
    low: Values | None = None
    high: Values | None = None
    dashed: bool = False
    sparse: bool = False  # draw dots, and lines across missing values


@dataclass(frozen=True)
class Chart:
    """What to draw. `unit` is the y axis's label, `x_label` the other's; `note` a sentence under the title."""

    title: str
    unit: str
    xs: list[float]
    series: list[Series]
    fmt: Format = numbers.plain
    note: str = ""
    stacked: bool = False
    from_zero: bool = False
    may_be_log: bool = False
    cap: float | None = None
    zero_line: bool = False
    x_label: str = X_LABEL


def render(chart: Chart) -> Markup:
    """The chart as a <figure>; all strings escaped."""
    note = svg.element('<p class="note">{}</p>', chart.note) if chart.note else ""
    return svg.element(
        '<figure class="chart"><figcaption><h4>{}</h4>{}</figcaption>{}'
        '<div class="plot" tabindex="0" role="group" aria-label="{}: arrow keys read the values">'
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}'
        '<line class="cursor off" y1="{}" y2="{}"/></svg>'
        '<div class="tip" hidden></div></div>{}</figure>',
        chart.title, note, _legend(chart), chart.title, WIDTH, HEIGHT, summary(chart),
        drawing(chart), TOP, BOTTOM, _data(chart, _x_scale(chart)),
    )  # fmt: skip


def drawing(chart: Chart) -> Markup:
    """Axes and curves, for an SVG of WIDTH x HEIGHT."""
    x, y = _x_scale(chart), _y_scale(chart)
    curves = _stack(chart, x, y) if chart.stacked else _lines(chart, x, y)
    return Markup("").join([*_axes(chart, x, y), *curves])


def summary(chart: Chart) -> str:
    """For screen readers: first and last value of each series."""
    parts = []
    for series in chart.series:
        present = [(x, v) for x, v in zip(chart.xs, series.values, strict=True) if v is not None]
        if present:
            (x0, first), (x1, last) = present[0], present[-1]
            tail = "" if len(present) == 1 else f", {chart.fmt(last)} at {x1:g}"
            parts.append(f"{series.name}: {chart.fmt(first)} at {chart.x_label} {x0:g}{tail}")
    return f"{chart.title}. " + "; ".join(parts)


def _x_scale(chart: Chart) -> Scale:
    return Scale(min(chart.xs), max(chart.xs), LEFT + 6, RIGHT - 6)


def _y_scale(chart: Chart) -> Scale:
    if chart.stacked:
        values: list[float] = [sum(v or 0.0 for v in column) for column in _columns(chart)]
    else:
        lists = [c for s in chart.series for c in (s.values, s.low, s.high) if c is not None]
        values = [v for one in lists for v in one if v is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if chart.may_be_log and low > 0 and high / low > LOG_FROM_RATIO:
        return Scale(low * 0.9, high * 1.1, BOTTOM, TOP, log=True)
    if chart.zero_line:
        low, high = min(low, 0.0), max(high, 0.0)
    low, high = rounded_range(low, high, chart.stacked or chart.from_zero, chart.cap)
    return Scale(low, high, BOTTOM, TOP)


def _axes(chart: Chart, x: Scale, y: Scale) -> list[Markup]:
    parts: list[Markup] = []
    for tick in log_ticks(y.low, y.high) if y.log else ticks(y.low, y.high):
        css = "axis" if chart.zero_line and tick == 0 else "grid"
        parts.append(svg.line(css, LEFT, RIGHT, y(tick), y(tick)))
        parts.append(svg.text("tick end", LEFT - 6, y(tick) + 3.5, _tick_label(chart, tick, y)))
    for tick in ticks(x.low, x.high, 6, whole=True):
        parts.append(svg.text("tick middle", x(tick), BOTTOM + 14, f"{tick:,.0f}"))
    unit = f"\N{UPWARDS ARROW} {chart.unit}" + (", log scale" if y.log else "")
    return [
        *parts,
        svg.line("axis", LEFT, RIGHT, BOTTOM, BOTTOM),
        svg.text("label end", RIGHT, HEIGHT - 5, chart.x_label),
        svg.text("label", 2, 11, unit),
    ]


def _tick_label(chart: Chart, tick: float, y: Scale) -> str:
    if chart.fmt is numbers.percent:
        return numbers.percent(tick, 0 if nice_step(y.high - y.low, 5) > 0.0099 else 1)
    return chart.fmt(0.0 if abs(tick) < 1e-12 else tick)


def _lines(chart: Chart, x: Scale, y: Scale) -> list[Markup]:
    bands, lines = [], []
    for series in chart.series:
        points = _points(chart, series, series.values, x, y)
        if series.low is not None and series.high is not None:
            bands.append(_band(chart, series, x, y))
        dashed = " dashed" if series.dashed else ""
        lines.append(svg.path(f"line {series.colour}{dashed}", svg.line_path(points)))
        if series.sparse:
            lines += [svg.dot(f"dot {series.colour}", point, "3.2") for point in points if point is not None]
    return bands + lines


def _band(chart: Chart, series: Series, x: Scale, y: Scale) -> Markup:
    """The area between `low` and `high`, where both are known."""
    ends = zip(series.low or [], series.high or [], strict=True)
    known = [(None, None) if low is None or high is None else (low, high) for low, high in ends]
    lower = _points(chart, series, [low for low, _ in known], x, y)
    upper = _points(chart, series, [high for _, high in known], x, y)
    band = svg.path(f"band {series.colour}", svg.area_path(upper, lower))
    pairs = [(a, b) for a, b in zip(upper, lower, strict=True) if a is not None and b is not None]
    if len(pairs) == 1:  # the band of a single point has no width
        (a, b) = pairs[0]
        band += svg.line(f"whisker {series.colour}", a[0], b[0], a[1], b[1])
    return band


def _stack(chart: Chart, x: Scale, y: Scale) -> list[Markup]:
    parts = []
    floor = [0.0] * len(chart.xs)
    known = [any(v is not None for v in column) for column in _columns(chart)]
    for series in chart.series:
        roof = [base + (value or 0.0) for base, value in zip(floor, series.values, strict=True)]
        top, bottom = (
            _points(chart, series, [v if k else None for v, k in zip(edge, known, strict=True)], x, y)
            for edge in (roof, floor)
        )
        parts.append(svg.path(f"area {series.colour}", svg.area_path(top, bottom)))
        floor = roof
    return parts


def _columns(chart: Chart) -> list[tuple[float | None, ...]]:
    return list(zip(*(series.values for series in chart.series), strict=True))


def _points(chart: Chart, series: Series, values: Values, x: Scale, y: Scale) -> Sequence[Point | None]:
    points = [None if v is None else (x(at), y(v)) for at, v in zip(chart.xs, values, strict=True)]
    return [point for point in points if point is not None] if series.sparse else points


def _legend(chart: Chart) -> Markup:
    if [series.name for series in chart.series] == [chart.title]:
        return Markup("")
    kind = "area" if chart.stacked else "line"
    entry = '<li><span class="swatch {} {}{}"></span>{}</li>'
    entries = [
        svg.element(entry, kind, s.colour, " dashed" if s.dashed else "", s.name) for s in chart.series
    ]
    return svg.element('<ul class="legend">{}</ul>', Markup("").join(entries))


def _data(chart: Chart, x: Scale) -> Markup:
    data = {
        "x": [f"{value:g}" for value in chart.xs],
        "px": [round(x(value), 1) for value in chart.xs],
        "label": chart.x_label,
        "names": [series.name for series in chart.series],
        "colours": [series.colour for series in chart.series],
        "rows": [[_cell(chart, series, i) for series in chart.series] for i in range(len(chart.xs))],
    }
    return json_script(data, "class", "chart-data")


def _cell(chart: Chart, series: Series, i: int) -> str:
    value = chart.fmt(series.values[i])
    if series.low is None or series.high is None or series.low[i] is None or series.high[i] is None:
        return value
    return f"{value} ({chart.fmt(series.low[i])} to {chart.fmt(series.high[i])})"
