"""The board: one self-contained HTML file from a results folder and, where given, training runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dipo_eval.board import numbers
from dipo_eval.board.charts import interval
from dipo_eval.board.charts.accuracy import accuracy_charts
from dipo_eval.board.charts.chart import render
from dipo_eval.board.charts.training import health_charts, training_charts
from dipo_eval.board.data.load import Cache, Result, load_results
from dipo_eval.board.data.runlog import RunLog
from dipo_eval.board.embed import csp_hash, json_script
from dipo_eval.board.page.samples import MAX_SAMPLES, embed_samples
from dipo_eval.board.page.sentences import feasible_sentence, fire_sentence, run_sentence
from dipo_eval.board.page.settings import collect_facts
from dipo_eval.board.table.comparison import apart, choose_baseline
from dipo_eval.board.table.leaderboard import (
    Differences,
    Row,
    all_differences,
    difference_words,
    headlines,
    official_scores,
    rows,
    run_comparisons,
)
from dipo_eval.errors import UserError
from dipo_eval.files.atomic import write_atomic
from dipo_eval.results.comparable import Made
from dipo_eval.secrets.masking import mask_values

HERE = Path(__file__).parent
MAX_APART = 1000
"""Above so many pairs that cannot be compared the page says only that, and its settings say why."""

SHOWN_ROWS = 100
"""Rows of the leaderboard that are drawn before the reader asks for all: 500 take a second to lay out."""


@dataclass(frozen=True)
class BoardData:
    """All that the page, the Markdown and the CSV are made from."""

    results: list[Result]
    problems: list[str]
    baseline: tuple[str, str] | None
    differences: Differences
    table: list[Row]


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
    `max_samples` is the most samples shown of each checkpoint and suite. Raises UserError where there is
    nothing to show or no such baseline.
    """
    data = read_board(results_dir, runs or [], baseline)
    return write_page(data, out, runs or [], title, max_samples)


def read_board(
    results_dir: Path, runs: Sequence[RunLog], baseline: str | None = None, cache: Cache | None = None
) -> BoardData:
    """Load and compare; UserError where there are neither results nor runs, or the baseline is unknown."""
    results, problems = load_results(results_dir, cache)
    if not results and not runs:
        detail = f" ({problems[0]})" if problems else ""
        raise UserError(
            f"no results under {results_dir}{detail}: expected RUN/CHECKPOINT/SUITE/results.json; "
            "run `dipo eval` first or name a training run with --run-dir"
        )
    try:
        chosen = choose_baseline(results, baseline)
    except ValueError as error:
        raise UserError(f"--baseline: {error}") from None
    differences = all_differences(results, chosen)
    problems += [problem for run in runs for problem in run.problems]
    return BoardData(results, problems, chosen, differences, rows(results, chosen, differences))


def write_page(
    data: BoardData, out: Path, runs: Sequence[RunLog], title: str, max_samples: int = MAX_SAMPLES
) -> Path:
    """Render `data` into `out`, making its folder; return `out`."""
    page = render_page(data, runs, title, max_samples)
    out.parent.mkdir(parents=True, exist_ok=True)
    # "replace": a lone surrogate in a name has no UTF-8 form, and must not cost the whole page.
    write_atomic(out, page.encode("utf-8", errors="replace"))
    return out


def render_page(
    data: BoardData,
    runs: Sequence[RunLog],
    title: str,
    max_samples: int = MAX_SAMPLES,
    version: str | None = None,
) -> str:
    """The page as HTML. Every text is escaped by jinja2 or embedded as inert JSON.

    With `version` the page asks its own server whether that has changed; without it can reach nothing at all.
    """
    runs = [replace(run, recipe=mask_values(run.recipe)) for run in runs]  # the page is made to be passed on
    live = _asset("live.js") if version else ""
    has_k = any((row.n_samples or 1) > 1 for row in data.table)
    has_official = any(result.official for result in data.results)
    style, script = (_asset("board.css"), _asset("board.js"))
    samples = embed_samples(data.results, data.baseline, max_samples)
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)
    environment.filters.update(
        percent=numbers.percent, count=numbers.count, interval=numbers.percent_interval, render_chart=render
    )
    return environment.get_template("board.html.j2").render(
        title=title,
        # The two assets are this package's own files; Markup keeps jinja2 from escaping them.
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script, live),
        data=data,
        lead=lead(data, runs),
        headlines=headlines(data.table, data.baseline),
        run_comparisons=run_comparisons(data.table),
        difference_words=difference_words,
        mark=_marks(data),
        accuracy_charts=accuracy_charts(data.results, data.baseline),
        runs=[_run_view(run) for run in runs],
        comparisons=json_script(_comparisons(data), element_id="comparisons"),
        samples=json_script(samples.data, element_id="sample-data"),
        facts=collect_facts(data.results),
        has_samples=bool(samples.data["sets"]),
        text_limit=samples.text_limit,
        suites=list(dict.fromkeys(r.suite for r in data.results)),
        columns=_columns(has_k, has_official),
        has_k=has_k,
        has_official=has_official,
        official_scores=official_scores,
        shown_rows=SHOWN_ROWS,
        live=Markup(live) if live else None,
        version=version,
    )


def lead(data: BoardData, runs: Sequence[RunLog]) -> list[str]:
    """The plain sentences under the title."""
    sentences = [run_sentence(run) for run in runs[:3]]
    if data.results:
        checkpoints = len({r.model_key for r in data.results})
        suites = list(dict.fromkeys(r.suite for r in data.results))
        last = max(r.created for r in data.results)[:16].replace("T", " ")
        when = f", last on {last}" if last else ""
        names = ", ".join(suites[:6]) + (" and others" if len(suites) > 6 else "")
        sentences.append(f"{numbers.plural(checkpoints, 'checkpoint')} evaluated on {names}{when}.")
    return sentences


def _policy(style: str, script: str, live: str) -> str:
    scripts = f"{csp_hash(script)} {csp_hash(live)}" if live else csp_hash(script)
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src {csp_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return f"{policy}; connect-src 'self'" if live else policy


def _columns(has_k: bool, has_official: bool) -> list[tuple[str, str]]:
    """Heading and kind of each column of the leaderboard."""
    names = ["Difference"]
    names += ["pass@k", "maj@k"] if has_k else []
    names += ["Official"] if has_official else []
    names += ["Step", "n items", "k each", "Truncated", "Undecided"]
    first = [("Checkpoint", "text"), ("Suite", "text"), ("Accuracy", "num"), ("", "")]
    return first + [(name, "num") for name in names]


def _asset(name: str) -> str:
    """A text file of this folder with LF line ends, as the browser hashes it."""
    return "\n".join((HERE / name).read_text(encoding="utf-8").splitlines()) + "\n"


def _marks(data: BoardData) -> dict[int, Markup]:
    """Index of a result -> its interval drawing; one scale a suite."""
    drawings: dict[int, Markup] = {}
    for suite in dict.fromkeys(r.suite for r in data.results):
        members = [row for row in data.table if row.result.suite == suite]
        span = interval.domain(row.accuracy for row in members)
        base = next((row.accuracy for row in members if row.is_baseline), None)
        drawings |= {row.index: interval.interval_drawing(row.accuracy, span, base) for row in members}
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


def _scaled(share: float) -> int:
    """In 1e-5, never 0 for what is not 0: the sign of an interval's end is its verdict."""
    return round(share * 1e5) or (share > 0) - (share < 0)


def _comparisons(data: BoardData) -> dict[str, Any]:
    """For board.js: who can be a baseline, and each precomputed difference."""
    keys = list(dict.fromkeys(result.model_key for result in data.results))
    # One direction of each pair, in 1e-5; board.js turns it round. More digits than it shows.
    pairs = {
        f"{i},{j}": [_scaled(value) for value in (found.mean, found.low, found.high, found.p_value)]
        for (i, j), found in data.differences.items()
        if found and (i < j or (j, i) not in data.differences)
    }
    made, words = _apart(data.results)
    told = {int(number) for pair in words for number in pair.split(",")}
    bases = {j for _, j in data.differences} | {j for j, number in enumerate(made) if number in told}
    return {
        "pairs": pairs,
        "made": made,
        "apart": words,
        "baselines": [
            {
                "run": run,
                "checkpoint": checkpoint,
                "results": {
                    r.suite: i for i, r in enumerate(data.results) if r.model_key == (run, checkpoint)
                },
                "chosen": (run, checkpoint) == data.baseline,
            }
            for run, checkpoint in keys
            if (run, checkpoint) == data.baseline
            or any(data.results[j].model_key == (run, checkpoint) for j in bases)
        ],
    }


def _apart(results: Sequence[Result]) -> tuple[list[int], dict[str, str]]:
    """A number for each result, alike where they can be compared; and "a,b" -> why a cannot be compared with b."""
    first: dict[tuple[str, Made], int] = {}
    made = [first.setdefault((result.suite, result.made), i) for i, result in enumerate(results)]
    pairs = [
        (a, b)
        for a in first.values()
        for b in first.values()
        if a != b and results[a].suite == results[b].suite
    ]
    if len(pairs) > MAX_APART:
        return made, {}
    return made, {f"{a},{b}": apart(results[a], results[b]) for a, b in pairs}
