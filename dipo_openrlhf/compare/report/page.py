"""report.html: one file that needs no network, in the board's style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dipo_eval.board.charts.chart import render
from dipo_eval.board.embed import csp_hash
from dipo_eval.board.page.render import HERE as BOARD
from dipo_openrlhf.compare.referee import TaskResult, baseline_of
from dipo_openrlhf.compare.report.curves import charts
from dipo_openrlhf.compare.report.forest import forest
from dipo_openrlhf.compare.report.table import (
    COST_TITLES,
    METHOD_TITLES,
    PAIR_TITLES,
    TUNING_TITLES,
    against,
    cost_rows,
    method_rows,
    pair_rows,
    setting_sentence,
    task_sentence,
    tuning_rows,
)
from dipo_openrlhf.compare.spec import Comparison
from dipo_openrlhf.compare.tasks import task_named
from dipo_openrlhf.compare.tuning import Tuned

HERE = Path(__file__).parent


@dataclass(frozen=True)
class TaskView:
    """A section of the page."""

    name: str
    question: str
    sentence: str
    methods: list[list[str]]
    pairs: list[list[str]]
    cost: list[list[str]]
    forest: Markup
    charts: list[Markup]


def report_page(comparison: Comparison, results: Sequence[TaskResult], tuned: Sequence[Tuned]) -> str:
    """The page as HTML; all strings are escaped by jinja2."""
    style = _asset(BOARD / "board.css") + _asset(HERE / "report.css")
    script = _asset(BOARD / "base.js") + _asset(BOARD / "charts.js")
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("report.html.j2").render(
        title=comparison.name,
        question=comparison.question,
        setting=setting_sentence(comparison),
        style=Markup(style),  # the assets are this package's own files
        script=Markup(script),
        policy=f"default-src 'none'; script-src {csp_hash(script)}; style-src {csp_hash(style)}; img-src data:",
        tasks=[_view(comparison, result) for result in results],
        tuned=tuning_rows(tuned),
        method_titles=METHOD_TITLES,
        pair_titles=PAIR_TITLES,
        cost_titles=COST_TITLES,
        tuning_titles=TUNING_TITLES,
    )


def _view(comparison: Comparison, result: TaskResult) -> TaskView:
    baseline = baseline_of(comparison)
    return TaskView(
        result.task,
        task_named(result.task).question,
        task_sentence(comparison, result),
        method_rows(result),
        pair_rows(comparison, result),
        cost_rows(result),
        forest(against(result, baseline), comparison.verdict.margin, baseline),
        [render(chart) for chart in charts(result, comparison.budget_tokens)],
    )


def _asset(path: Path) -> str:
    """A text file with LF line ends, as the browser hashes it."""
    return "\n".join(path.read_text(encoding="utf-8").splitlines()) + "\n"
