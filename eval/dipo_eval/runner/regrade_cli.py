"""`dipo grade`: grade stored samples again; show changed verdicts and disagreements with another grader."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from dipo_eval.errors import UserError


def grade_command(
    file: Annotated[
        Path,
        typer.Argument(help="samples.jsonl or .zst of a results folder, or that folder.", show_default=False),
    ],
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            help="List disagreements with another grader: math-verify, or bfcl-eval for the suite bfcl.",
            show_default=False,
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            help="Suite whose grader to use. Default: that of the results.json beside the file, else math."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the new verdicts as JSON lines.")] = None,
    show: Annotated[int, typer.Option(min=0, help="Maximal rows of each list.")] = 20,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 where a verdict has changed.")] = False,
) -> None:
    """Grade stored samples again, without a model: verdicts, reasons, and changes against the stored verdicts.

    Example:

        dipo grade results/quickstart/global_step20/gsm8k --against math-verify

    Exit status: 0; 1 with --check where a verdict has changed; 2 for a file that cannot be graded.
    """
    from rich.console import Console

    from dipo_eval.files.places import check_can_write
    from dipo_eval.harness.registry import second_grader
    from dipo_eval.results.store import check_not_stored
    from dipo_eval.runner.progress import Reporter
    from dipo_eval.runner.regrade import find_samples, read_stored, regrade, suite_of
    from dipo_eval.runner.regrade_show import print_list, reason_table, verdict_table

    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # a log or a pipe
    path = find_samples(file)
    if out is not None:
        check_not_stored(out, "--out")
        check_can_write(out, "--out")
        if out.exists() and out.samefile(path):
            raise UserError(f"--out {out}: is the file that is graded; name another")
    rows = read_stored(path)
    with (
        Reporter(console.is_terminal) as report,
        second_grader(against) if against else nullcontext() as second,
        report.bar(f"grading {path.name}", len(rows)) as advance,
    ):
        graded = regrade(rows, suite_of(path, suite), second, advance)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("".join(json.dumps(one.to_json(against)) + "\n" for one in graded), encoding="ascii")
    changed = [one for one in graded if one.changed]
    console.print(verdict_table(graded, against))
    console.print(reason_table(graded))
    print_list(console, f"{len(changed)} of {len(graded)} verdicts changed", changed, show, None)
    if against:
        disputed = [one for one in graded if one.disputed]
        title = f"{len(disputed)} of {len(graded)} samples scored differently by {against}"
        print_list(console, title, disputed, show, against)
    if out is not None:
        console.print(f"verdicts in {out}", markup=False, highlight=False)
    if check and changed:
        raise typer.Exit(1)
