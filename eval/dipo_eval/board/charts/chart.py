"""Charts as inline SVG: readable without a script, about 10 kB each where plotly's bundle alone is 4.8 MB.

The colours are classes that board.css defines for light and dark. The exact numbers travel beside each chart
as JSON for board.js, which draws the cross-hair, the read-out and the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from dipo_eval.board import numbers
from dipo_eval.board.charts.scales import (
    Point,
    Scale,
    area_path,
    line_path,
    log_ticks,
    nice_step,
    rounded_range,
    ticks,
)
from dipo_eval.board.page.embed import json_script

WIDTH, HEIGHT = 384, 222
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 24, 34
LOG_FROM_RATIO = 30
"""A chart that may be logarithmic is so where its largest value is this many times its smallest."""

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
    dots: bool = False
    bridge: bool = False  # draw across missing values


@dataclass(frozen=True)
class Chart:
    """What to draw. `unit` is the y axis's label; `note` a sentence under the title."""

    title: str
    unit: str
    xs: list[float]
    series: list[Series]
    fmt: Format = numbers.plain
    note: str = ""
    x_label: str = "training step"
    stacked: bool = False
    from_zero: bool = False
    may_be_log: bool = False
    cap: float | None = None
    zero_line: bool = False


def render(chart: Chart) -> Markup:
    """The chart as a <figure>; all text escaped."""
    x, y = _x_scale(chart), _y_scale(chart)
    body = Markup("").join([_axes(chart, x, y), *(_stack if chart.stacked else _lines)(chart, x, y)])
    return Markup(
        '<figure class="chart"><figcaption><h4>{title}</h4>{note}</figcaption>{legend}'
        '<div class="plot" tabindex="0" role="group" aria-label="{title}: arrow keys read the values">'
        '<svg viewBox="0 0 {w} {h}" role="img" aria-label="{summary}">{body}'
        '<line class="cursor off" y1="{top}" y2="{bottom}"/></svg>'
        '<div class="tip" hidden></div></div>{data}</figure>'
    ).format(
        title=chart.title,
        note=Markup('<p class="note">{}</p>').format(chart.note) if chart.note else "",
        legend=_legend(chart),
        w=WIDTH,
        h=HEIGHT,
        summary=summary(chart),
        body=body,
        top=TOP,
        bottom=HEIGHT - BOTTOM,
        data=_data(chart, x),
    )


def summary(chart: Chart) -> str:
    """For those who cannot see the curves: first and last value of each."""
    parts = []
    for series in chart.series:
        present = [(x, v) for x, v in zip(chart.xs, series.values, strict=True) if v is not None]
        if present:
            (x0, first), (x1, last) = present[0], present[-1]
            tail = "" if len(present) == 1 else f", {chart.fmt(last)} at {x1:g}"
            parts.append(f"{series.name}: {chart.fmt(first)} at {chart.x_label} {x0:g}{tail}")
    return f"{chart.title}. " + "; ".join(parts)


def _x_scale(chart: Chart) -> Scale:
    low, high = min(chart.xs), max(chart.xs)
    return Scale(low, high, LEFT + 6, WIDTH - RIGHT - 6)


def _y_scale(chart: Chart) -> Scale:
    if chart.stacked:
        values: list[float] = [sum(v or 0.0 for v in column) for column in _columns(chart)]
    else:
        lists = [c for s in chart.series for c in (s.values, s.low, s.high) if c is not None]
        values = [v for one in lists for v in one if v is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    start, end = HEIGHT - BOTTOM, TOP
    if chart.may_be_log and low > 0 and high / low > LOG_FROM_RATIO:
        return Scale(low * 0.9, high * 1.1, start, end, log=True)
    if chart.zero_line:
        low, high = min(low, 0.0), max(high, 0.0)
    low, high = rounded_range(low, high, chart.stacked or chart.from_zero, chart.cap)
    return Scale(low, high, start, end)


def _axes(chart: Chart, x: Scale, y: Scale) -> Markup:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts: list[Markup] = []
    for tick in log_ticks(y.low, y.high) if y.log else ticks(y.low, y.high):
        grid = "axis" if chart.zero_line and tick == 0 else "grid"
        parts.append(
            Markup('<line class="{}" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
                grid, LEFT, right, y(tick), y(tick)
            )
            + Markup('<text class="tick end" x="{}" y="{:.1f}">{}</text>').format(
                LEFT - 6, y(tick) + 3.5, _tick_text(chart, tick, y)
            )
        )
    for tick in ticks(x.low, x.high, 6, whole=True):
        parts.append(
            Markup('<text class="tick middle" x="{:.1f}" y="{}">{}</text>').format(
                x(tick), bottom + 14, f"{tick:,.0f}"
            )
        )
    parts.append(
        Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(LEFT, right, bottom, bottom)
    )
    parts.append(
        Markup('<text class="label end" x="{}" y="{}">{}</text>').format(right, HEIGHT - 5, chart.x_label)
    )
    parts.append(Markup('<text class="label" x="{}" y="{}">{}</text>').format(2, 11, _unit_text(chart, y)))
    return Markup("").join(parts)


def _tick_text(chart: Chart, tick: float, y: Scale) -> str:
    if chart.fmt is numbers.percent:
        return numbers.percent(tick, 0 if nice_step(y.high - y.low, 5) > 0.0099 else 1)
    return chart.fmt(0.0 if abs(tick) < 1e-12 else tick)


def _unit_text(chart: Chart, y: Scale) -> str:
    return f"\N{UPWARDS ARROW} {chart.unit}" + (", log scale" if y.log else "")


def _lines(chart: Chart, x: Scale, y: Scale) -> list[Markup]:
    bands, lines = [], []
    for series in chart.series:
        if series.low is not None and series.high is not None:
            keep = [
                low is not None and high is not None
                for low, high in zip(series.low, series.high, strict=True)
            ]
            top = _points(chart.xs, [v if k else None for v, k in zip(series.high, keep, strict=True)], x, y)
            base = _points(chart.xs, [v if k else None for v, k in zip(series.low, keep, strict=True)], x, y)
            bands.append(_band(series, top, base))
        points = _points(chart.xs, series.values, x, y)
        if series.bridge:
            points = [point for point in points if point is not None]
        lines.append(
            Markup('<path class="line {}{}" d="{}"/>').format(
                series.colour, " dashed" if series.dashed else "", line_path(points)
            )
        )
        if series.dots:
            lines += [
                Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="3.2"/>').format(
                    series.colour, *point
                )
                for point in points
                if point is not None
            ]
    return bands + lines


def _band(series: Series, top: Sequence[Point | None], base: Sequence[Point | None]) -> Markup:
    if series.bridge:
        top, base = [p for p in top if p is not None], [p for p in base if p is not None]
    band = Markup('<path class="band {}" d="{}"/>').format(series.colour, area_path(top, base))
    pairs = [(a, b) for a, b in zip(top, base, strict=True) if a is not None and b is not None]
    if len(pairs) > 1:
        return band
    # The band of a single point has no width.
    return band + Markup("").join(
        Markup('<line class="whisker {}" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>').format(
            series.colour, a[0], b[0], a[1], b[1]
        )
        for a, b in pairs
    )


def _stack(chart: Chart, x: Scale, y: Scale) -> list[Markup]:
    parts = []
    floor = [0.0] * len(chart.xs)
    known = [any(v is not None for v in column) for column in _columns(chart)]
    for series in chart.series:
        roof = [base + (value or 0.0) for base, value in zip(floor, series.values, strict=True)]
        top = _points(chart.xs, [v if k else None for v, k in zip(roof, known, strict=True)], x, y)
        bottom = _points(chart.xs, [v if k else None for v, k in zip(floor, known, strict=True)], x, y)
        parts.append(Markup('<path class="area {}" d="{}"/>').format(series.colour, area_path(top, bottom)))
        floor = roof
    return parts


def _columns(chart: Chart) -> list[tuple[float | None, ...]]:
    return list(zip(*(series.values for series in chart.series), strict=True))


def _points(xs: Sequence[float], values: Values, x: Scale, y: Scale) -> list[Point | None]:
    return [None if v is None else (x(at), y(v)) for at, v in zip(xs, values, strict=True)]


def _legend(chart: Chart) -> Markup:
    if [series.name for series in chart.series] == [chart.title]:
        return Markup("")
    kind = "area" if chart.stacked else "line"
    entries = [
        Markup('<li><span class="swatch {} {}{}"></span>{}</li>').format(
            kind, s.colour, " dashed" if s.dashed else "", s.name
        )
        for s in chart.series
    ]
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(entries))


def _data(chart: Chart, x: Scale) -> Markup:
    rows = []
    for i in range(len(chart.xs)):
        rows.append([_cell(chart, series, i) for series in chart.series])
    return json_script(
        {
            "x": [f"{value:g}" for value in chart.xs],
            "px": [round(x(value), 1) for value in chart.xs],
            "label": chart.x_label,
            "names": [series.name for series in chart.series],
            "colours": [series.colour for series in chart.series],
            "rows": rows,
        },
        css_class="chart-data",
    )


def _cell(chart: Chart, series: Series, i: int) -> str:
    text = chart.fmt(series.values[i])
    if series.low is None or series.high is None or series.low[i] is None or series.high[i] is None:
        return text
    return f"{text} ({chart.fmt(series.low[i])} to {chart.fmt(series.high[i])})"
