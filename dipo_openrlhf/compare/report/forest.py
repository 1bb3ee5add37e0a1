"""The forest plot: every method's difference from the baseline with its interval over all looks and pairs."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from dipo_eval.board import numbers
from dipo_eval.board.charts import svg
from dipo_eval.board.charts.scales import Scale, ticks
from dipo_eval.statistics import PairVerdict

WIDTH, ROW, TOP, LEFT, RIGHT = 640, 24, 26, 170, 470
COLOURS = {"better": "green", "worse": "red", "equivalent": "blue", "undecided": "grey"}


def forest(pairs: Sequence[PairVerdict], margin: float, baseline: str) -> Markup:
    """An SVG of pairs whose second method is the baseline, the largest difference first; the margin is shaded."""
    rows = sorted(pairs, key=lambda pair: -pair.difference)
    ends = [end for pair in rows for end in (pair.low_of_all, pair.high_of_all)] + [margin, -margin]
    x = Scale(min(ends), max(ends), LEFT, RIGHT)
    bottom = TOP + ROW * len(rows)
    parts = [
        svg.element(
            '<rect class="band blue" x="{}" y="{}" width="{}" height="{}"/>',
            x(-margin), TOP, x(margin) - x(-margin), bottom - TOP,
        ),
        svg.line("axis", x(0), x(0), TOP, bottom),
        svg.text("label", 2, 14, f"minus {baseline}, percentage points; shaded: equivalent"),
    ]  # fmt: skip
    for index, pair in enumerate(rows):
        y = TOP + ROW * (index + 0.5)
        colour = COLOURS[pair.verdict]
        parts += [
            svg.text("tick end", LEFT - 10, y + 4, pair.a),
            svg.line(f"whisker {colour}", x(pair.low_of_all), x(pair.high_of_all), y, y),
            svg.dot(f"dot {colour}", (x(pair.difference), y), "4"),
            svg.text("tick", RIGHT + 12, y + 4, f"{numbers.points(pair.difference)} {pair.verdict}"),
        ]
    for tick in ticks(x.low, x.high, 6):
        parts.append(svg.text("tick middle", x(tick), bottom + 16, numbers.points(tick)))
    words = "; ".join(f"{pair.a} {numbers.points(pair.difference)} {pair.verdict}" for pair in rows)
    return svg.element(
        '<svg class="forest" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>',
        WIDTH, bottom + 24, f"Differences from {baseline}: {words}", Markup("").join(parts),
    )  # fmt: skip
