"""`dipo board`: write or serve the page, and on request the same table as Markdown or CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from dipo_eval.board import MAX_SAMPLES
from dipo_eval.errors import UserError
from dipo_eval.files.places import check_can_write


def board_command(
    results: Annotated[Path, typer.Option(help="Folder with RUN/CHECKPOINT/SUITE/results.json.")],
    out: Annotated[Path | None, typer.Option(help="The HTML file to write.")] = None,
    run_dir: Annotated[
        list[Path] | None,
        typer.Option(help="A training run's folder (metrics.jsonl, recipe.yaml). Repeatable."),
    ] = None,
    title: Annotated[str, typer.Option(help="The page's heading.")] = "DiPO board",
    baseline: Annotated[
        str | None, typer.Option(help="CHECKPOINT or RUN/CHECKPOINT to compare with; default: the earliest.")
    ] = None,
    max_samples: Annotated[
        int, typer.Option(min=0, help="Most samples in the page, for each checkpoint and suite.")
    ] = MAX_SAMPLES,
    markdown: Annotated[Path | None, typer.Option(help="Also write the table as Markdown.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Also write the table as CSV.")] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve the page; it reloads when a result changes.")
    ] = False,
    host: Annotated[str, typer.Option(help="With --serve: the address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="With --serve: the port; 0 takes a free one.")
    ] = 8765,
) -> None:
    """Write the leaderboard of a results folder as one HTML file that needs no network, or serve it.

    Example:

        dipo board --results results --run-dir runs/quickstart --out board.html

        dipo board --results results --serve
    """
    from dipo_eval.board.data.runlog import read_run_log
    from dipo_eval.board.page.render import write_page
    from dipo_eval.board.table.export import to_csv, to_markdown
    from dipo_eval.board.table.leaderboard import read_board
    from dipo_eval.results.store import check_not_stored

    if serve:
        if out or markdown or csv:
            raise UserError("--serve writes no file: give --out, --markdown and --csv in a call without it")
        from dipo_eval.board.serve import Source
        from dipo_eval.board.serve import serve as serve_board

        serve_board(Source(results, run_dir or [], title, baseline, max_samples), host, port, typer.echo)
        return
    if out is None:
        raise UserError("--out: name the HTML file to write, or serve the page with --serve")
    if out.suffix.lower() in (".md", ".csv"):
        other = {".md": "--markdown", ".csv": "--csv"}[out.suffix.lower()]
        raise UserError(f"--out {out}: the page is HTML: name a .html file, and the table with {other} {out}")
    if out.is_file() and out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out {out}: is there already, and no HTML by its name: name a .html file")
    _check_results(results, run_dir or [])
    for option, path in (("--out", out), ("--markdown", markdown), ("--csv", csv)):
        if path is not None:
            check_not_stored(path, option)
            check_can_write(path, option)
    runs = [read_run_log(path) for path in run_dir or []]
    data = read_board(results, runs, baseline)
    write_page(data, out, runs, title, max_samples)
    typer.echo(f"{out} ({out.stat().st_size / 1e6:.1f} MB)")
    for path, text in ((markdown, to_markdown(data.table, data.baseline)), (csv, to_csv(data.table))):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", errors="replace")
            typer.echo(str(path))


def _check_results(results: Path, run_dirs: Sequence[Path]) -> None:
    """Raise UserError where there is no such folder: the page would be empty. A served one may be there later."""
    if results.is_dir():
        return
    held = next((found for path in run_dirs if (found := path / "results").is_dir()), None)
    advice = f"; {held} is one" if held else f"; `dipo eval ... --results {results}` writes one"
    kind = "is a file; name the folder of the results" if results.exists() else f"no such folder{advice}"
    raise UserError(f"--results {results}: {kind}")
