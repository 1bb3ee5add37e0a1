"""Figures as files of their own, for a paper: the page's drawings with their colours written into them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from dipo_eval.board.charts import svg
from dipo_eval.board.charts.chart import HEIGHT, LEFT, WIDTH, Chart, drawing
from dipo_eval.board.page.render import HERE as BOARD
from dipo_eval.files.atomic import write_atomic
from dipo_openrlhf.compare.referee import TaskResult, baseline_of
from dipo_openrlhf.compare.report.curves import charts
from dipo_openrlhf.compare.report.forest import forest
from dipo_openrlhf.compare.report.table import against
from dipo_openrlhf.compare.spec import Comparison

_LIGHT = re.compile(r"--([a-z-]+): (#[0-9a-f]{6})")  # of the board's own style sheet
_RULES = (
    "text{{font:11.5px sans-serif;fill:{soft}}}.name{{fill:currentColor}}"
    ".end{{text-anchor:end}}.middle{{text-anchor:middle}}"
    ".line{{fill:none;stroke:currentColor;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}}"
    ".dashed{{stroke-dasharray:5 4}}.band{{fill:currentColor;opacity:.17}}.dot{{fill:currentColor}}"
    ".whisker{{stroke:currentColor;stroke-width:1.6}}.grid{{stroke:{rule}}}.axis{{stroke:{soft}}}.off{{display:none}}"
)
_COLOURS = ("blue", "orange", "green", "red", "purple", "sky", "grey", "ink")


def write_figures(comparison: Comparison, results: Sequence[TaskResult], folder: Path) -> None:
    """figures/TASK-*.svg."""
    folder.mkdir(exist_ok=True)
    style = _style()
    for result in results:
        for chart in charts(result, comparison.budget_tokens):
            name = "-".join(chart.title.lower().split())
            write_atomic(folder / f"{result.task}-{name}.svg", chart_file(chart, style).encode())
        baseline = baseline_of(comparison)
        plot = forest(against(result, baseline), comparison.verdict.margin, baseline)
        write_atomic(folder / f"{result.task}-differences.svg", _file(plot, style).encode())


def chart_file(chart: Chart, style: str) -> str:
    """The drawing of a chart with its legend under it."""
    room = max(84, 34 + 7 * max(len(series.name) for series in chart.series))
    in_a_row = max(1, (WIDTH - LEFT) // room)
    names = []
    for index, series in enumerate(chart.series):
        x, y = LEFT + room * (index % in_a_row), HEIGHT + 12 + 14 * (index // in_a_row)
        dashed = " dashed" if series.dashed else ""
        names += [
            svg.path(f"line {series.colour}{dashed}", f"M{x} {y - 4}H{x + 20}"),
            svg.element(
                '<text class="name {}" x="{}" y="{}">{}</text>', series.colour, x + 25, y, series.name
            ),
        ]
    rows = 1 + (len(chart.series) - 1) // in_a_row
    content = Markup("").join([drawing(chart), *names])
    return _file(
        svg.element('<svg viewBox="0 0 {} {}">{}</svg>', WIDTH, HEIGHT + 14 * rows + 4, content), style
    )


def _file(figure: Markup, style: str) -> str:
    head, rest = str(figure).replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1).split(">", 1)
    return f"{head}><style>{style}</style>{rest}\n"


def _style() -> str:
    light = dict(reversed(_LIGHT.findall((BOARD / "board.css").read_text(encoding="utf-8"))))
    colours = "".join(f".{name}{{color:{light[name]}}}" for name in _COLOURS)
    return _RULES.format(soft=light["soft"], rule=light["rule"]) + colours
