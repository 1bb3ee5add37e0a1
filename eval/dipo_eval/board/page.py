"""The board: one self-contained HTML file from a results folder and, where given, training runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dipo_eval.board import marks, numbers
from dipo_eval.board.charts import render
from dipo_eval.board.comparison import choose_baseline
from dipo_eval.board.embed import csp_hash, json_script
from dipo_eval.board.eval_charts import accuracy_charts
from dipo_eval.board.facts import collect_facts
from dipo_eval.board.health_charts import health_charts
from dipo_eval.board.leaderboard import (
    Differences,
    Row,
    all_differences,
    difference_words,
    duels,
    headlines,
    rows,
)
from dipo_eval.board.load import Result, load_results
from dipo_eval.board.runlog import RunLog
from dipo_eval.board.samples import MAX_SAMPLES, embed_samples
from dipo_eval.board.training_charts import training_charts
from dipo_eval.board.words import feasible_sentence, fire_sentence, run_sentence, without_secrets
from dipo_eval.errors import UserError

HERE = Path(__file__).parent


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


def read_board(results_dir: Path, runs: Sequence[RunLog], baseline: str | None = None) -> BoardData:
    """Load and compare; UserError where there are neither results nor runs, or the baseline is unknown."""
    results, problems = load_results(results_dir)
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
    out.write_bytes(page.encode("utf-8", errors="replace"))
    return out


def render_page(data: BoardData, runs: Sequence[RunLog], title: str, max_samples: int = MAX_SAMPLES) -> str:
    """The page as HTML. Every text is escaped by jinja2 or embedded as inert JSON."""
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
        policy=_policy(style, script),
        data=data,
        lead=lead(data, runs),
        headlines=headlines(data.table, data.baseline),
        duels=duels(data.table),
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


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; script-src {csp_hash(script)}; style-src {csp_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _asset(name: str) -> str:
    """A text file of this folder with LF line ends, as the browser hashes it."""
    return "\n".join((HERE / name).read_text(encoding="utf-8").splitlines()) + "\n"


def _marks(data: BoardData) -> dict[int, Markup]:
    """Index of a result -> its interval drawing; one scale a suite."""
    drawings: dict[int, Markup] = {}
    for suite in dict.fromkeys(r.suite for r in data.results):
        members = [row for row in data.table if row.result.suite == suite]
        span = marks.domain(row.accuracy for row in members)
        base = next((row.accuracy for row in members if row.is_baseline), None)
        drawings |= {row.index: marks.interval_mark(row.accuracy, span, base) for row in members}
    return drawings


def _run_view(run: RunLog) -> dict[str, Any]:
    return {
        "name": run.name,
        "sentence": run_sentence(run),
        "fired": fire_sentence(run),
        "feasible": feasible_sentence(run),
        "charts": training_charts(run),
        "health": health_charts(run),
        "recipe": yaml.safe_dump(without_secrets(run.recipe), sort_keys=False, allow_unicode=True)
        if run.recipe
        else "",
    }


def _comparisons(data: BoardData) -> dict[str, Any]:
    """For board.js: who can be a baseline, and the words of each precomputed difference."""
    keys = list(dict.fromkeys(result.model_key for result in data.results))
    pairs = {f"{i},{j}": difference_words(found) for (i, j), found in data.differences.items() if found}
    bases = {j for _, j in data.differences}
    return {
        "pairs": pairs,
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
