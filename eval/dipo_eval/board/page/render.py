"""The board: one self-contained HTML file from a results folder and, where given, training runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dipo_eval.board import MAX_SAMPLES, numbers
from dipo_eval.board.charts.accuracy import accuracy_charts
from dipo_eval.board.charts.chart import render
from dipo_eval.board.charts.interval import domain, interval_drawing
from dipo_eval.board.charts.training import health_charts, training_charts
from dipo_eval.board.data.runlog import RunLog
from dipo_eval.board.embed import csp_hash, json_script
from dipo_eval.board.page.baselines import comparisons
from dipo_eval.board.page.samples import embed_samples
from dipo_eval.board.page.sentences import feasible_sentence, fire_sentence, run_sentence
from dipo_eval.board.page.settings import collect_settings
from dipo_eval.board.table import leaderboard
from dipo_eval.board.table.leaderboard import BoardData
from dipo_eval.files.atomic import write_atomic
from dipo_eval.printable import spelled
from dipo_eval.secrets.masking import mask_values

HERE = Path(__file__).parent
SCRIPTS = ("base.js", "charts.js", "leaderboard.js", "samples.js")
SHOWN_ROWS = 100
"""Rows of the leaderboard that are drawn until the reader clicks for all: 500 take a second to lay out."""


def write_board(
    results_dir: Path,
    out: Path,
    runs: list[RunLog] | None = None,
    title: str = "DiPO board",
    *,
    baseline: str | None = None,
    max_samples: int = MAX_SAMPLES,
) -> Path:
    """Write the board of `results_dir` and `runs` to `out` and return `out`.

    `baseline` names the checkpoint that the others are compared with ("checkpoint" or "run/checkpoint");
    `max_samples` limits the samples of each checkpoint and suite. Raises UserError where there is nothing to
    show or no such baseline.
    """
    data = leaderboard.read_board(results_dir, runs or [], baseline)
    return write_page(data, out, runs or [], title, max_samples)


def write_page(
    data: BoardData, out: Path, runs: Sequence[RunLog], title: str, max_samples: int = MAX_SAMPLES
) -> Path:
    """Render `data` into `out`, making its folder; return `out`."""
    page = render_page(data, runs, title, max_samples)
    out.parent.mkdir(parents=True, exist_ok=True)
    # "replace": a lone surrogate in a name has no UTF-8 form, and must not fail the page.
    write_atomic(out, page.encode("utf-8", errors="replace"))
    return out


def render_page(
    data: BoardData,
    runs: Sequence[RunLog],
    title: str,
    max_samples: int = MAX_SAMPLES,
    version: str | None = None,
) -> str:
    """The page as HTML. All strings are escaped by jinja2 or embedded as inert JSON.

    With `version` the page polls its own server for a newer one; without, it can reach no network.
    """
    runs = [replace(run, recipe=mask_values(run.recipe)) for run in runs]  # the page is made to be passed on
    style, script, live = (
        _asset("board.css"),
        "\n".join(map(_asset, SCRIPTS)),
        _asset("live.js") if version else "",
    )
    has_k = any((row.n_samples or 1) > 1 for row in data.table)
    has_official = any(result.official for result in data.results)
    samples = embed_samples(data.results, data.baseline, max_samples)
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, finalize=_shown
    )
    environment.filters.update(
        percent=numbers.percent, count=numbers.count, interval=numbers.percent_interval, render_chart=render
    )
    return environment.get_template("board.html.j2").render(
        title=title,
        # The assets are this package's own files; Markup keeps jinja2 from escaping them.
        style=Markup(style),
        script=Markup(script),
        live=Markup(live),
        version=version,
        policy=_policy(style, script, live),
        data=data,
        baseline="/".join(data.baseline or ()),
        lead=lead(data, runs),
        headlines=leaderboard.headlines(data.table),
        run_comparisons=leaderboard.run_comparisons(data.table),
        drawings=_drawings(data),
        accuracy_charts=accuracy_charts(data.results, data.baseline),
        runs=[_run_view(run) for run in runs],
        comparisons=json_script(comparisons(data), "id", "comparisons"),
        samples=json_script(samples.data, "id", "sample-data"),
        settings=collect_settings(data.results),
        has_samples=bool(samples.data["sets"]),
        text_limit=samples.text_limit,
        suites=list(dict.fromkeys(r.suite for r in data.results)),
        columns=_columns(has_k, has_official),
        has_k=has_k,
        has_official=has_official,
        official_scores=leaderboard.official_scores,
        shown_rows=SHOWN_ROWS,
    )


def lead(data: BoardData, runs: Sequence[RunLog]) -> list[str]:
    """The sentences under the title."""
    sentences = [run_sentence(run) for run in runs[:3]]
    if data.results:
        checkpoints = len({r.model_key for r in data.results})
        suites = list(dict.fromkeys(r.suite for r in data.results))
        last = max(r.created for r in data.results)[:16].replace("T", " ")
        when = f", last on {last}" if last else ""
        names = ", ".join(suites[:6]) + (" and others" if len(suites) > 6 else "")
        sentences.append(f"{numbers.plural(checkpoints, 'checkpoint')} evaluated on {names}{when}.")
    return sentences


def _shown(value: Any) -> Any:
    """What the template writes: in text of others nothing is hidden; lines stay lines, and our own markup as it is."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(char if char in "\n\t" else spelled(char) for char in value)


def _policy(style: str, script: str, live: str) -> str:
    scripts = f"{csp_hash(script)} {csp_hash(live)}" if live else csp_hash(script)
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src {csp_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return f"{policy}; connect-src 'self'" if live else policy


def _columns(has_k: bool, has_official: bool) -> list[str]:
    """Headings of the leaderboard; the interval's drawing has none."""
    names = ["Checkpoint", "Suite", "Accuracy", "", "Difference"]
    names += ["pass@k", "maj@k"] if has_k else []
    names += ["Official"] if has_official else []
    return [*names, "Step", "n items", "k each", "Truncated", "Undecided"]


def _asset(name: str) -> str:
    """A text file of this folder with LF line ends, as the browser hashes it."""
    return "\n".join((HERE / name).read_text(encoding="utf-8").splitlines()) + "\n"


def _drawings(data: BoardData) -> dict[int, Markup]:
    """Index of a result -> its interval drawing; one scale a suite."""
    drawings: dict[int, Markup] = {}
    for suite in dict.fromkeys(r.suite for r in data.results):
        members = [row for row in data.table if row.result.suite == suite]
        span = domain(row.accuracy for row in members)
        base = next((row.accuracy for row in members if row.is_baseline), None)
        drawings |= {row.index: interval_drawing(row.accuracy, span, base) for row in members}
    return drawings


def _run_view(run: RunLog) -> dict[str, Any]:
    return {
        "name": run.name,
        "sentence": run_sentence(run),
        "fired": fire_sentence(run),
        "feasible": feasible_sentence(run),
        "charts": training_charts(run),
        "health": health_charts(run),
        "recipe": yaml.safe_dump(run.recipe, sort_keys=False, allow_unicode=True) if run.recipe else "",
    }
