"""`dipo board`: write the page, and on request the same table as Markdown or CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dipo_eval.board.export import to_csv, to_markdown
from dipo_eval.board.page import read_board, write_page
from dipo_eval.board.runlog import read_run_log
from dipo_eval.board.samples import MAX_SAMPLES


def board_command(
    results: Annotated[
        Path, typer.Option("--results", help="Folder with RUN/CHECKPOINT/SUITE/results.json.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The HTML file to write.")],
    run_dir: Annotated[
        list[Path] | None,
        typer.Option("--run-dir", help="A training run's folder (metrics.jsonl, recipe.yaml). Repeatable."),
    ] = None,
    title: Annotated[str, typer.Option("--title", help="The page's heading.")] = "DiPO board",
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline", help="CHECKPOINT or RUN/CHECKPOINT to compare with; default: the earliest."
        ),
    ] = None,
    max_samples: Annotated[
        int,
        typer.Option("--max-samples", min=0, help="Most samples in the page, for each checkpoint and suite."),
    ] = MAX_SAMPLES,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Also write the table as Markdown.")
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Also write the table as CSV.")] = None,
) -> None:
    """Write the leaderboard of a results folder as one HTML file that needs no network."""
    runs = [read_run_log(path) for path in run_dir or []]
    data = read_board(results, runs, baseline)
    write_page(data, out, runs, title, max_samples)
    typer.echo(f"{out} ({out.stat().st_size / 1e6:.1f} MB)")
    for path, text in ((markdown, to_markdown(data.table, data.baseline)), (csv, to_csv(data.table))):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", errors="replace")
            typer.echo(str(path))
