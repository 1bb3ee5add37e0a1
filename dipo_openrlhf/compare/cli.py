"""`dipo compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare_command(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            help="A comparison: a shipped one by its name, or a YAML file; none: by the options. Or finished runs: "
            "PATH PATH ..., or NAME=PATH,PATH,... with one path a seed."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the comparison. Default: comparisons/NAME; it goes on there."),
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="Methods by name, such as grpo,dapo,dipo: instead of the comparison's.")
    ] = None,
    tasks: Annotated[str | None, typer.Option(help="Tasks by name: instead of the comparison's.")] = None,
    seeds: Annotated[int | None, typer.Option(min=2, max=1000, help="Most seeds of each method.")] = None,
    budget_tokens: Annotated[
        int | None, typer.Option(min=1, max=10**12, help="Tokens that each run may generate.")
    ] = None,
    stack: Annotated[
        str | None,
        typer.Option(
            help="reference: in process. openrlhf: every run is a `dipo train` on Ray, vLLM and DeepSpeed."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Runs at a time, one thread each; 0: as many as there are cores."),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(min=0.001, max=0.999, help="Equivalent within it. Default: 0.02, which is 2 points."),
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="List comparisons, tasks and methods, and stop.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check it, show what would run, and stop.")
    ] = False,
) -> None:
    """Tell whether a method helps, at the same budget of generated tokens, beyond luck.

    Every method trains with the same seeds, prompts and order, and is evaluated on the same problems; the verdict is over
    seeds and problems, corrected for all pairs, and sampling stops when it is known. Started again in the same folder, it
    goes on. Examples:

        dipo compare --methods grpo,dapo,dipo --tasks mixed

        dipo compare quick --dry-run

    Finished runs, of this project, lm-eval, Inspect or NeMo Evaluator, paired by item:

        dipo compare grpo=runs/grpo-1,runs/grpo-2 dipo=runs/dipo-1,runs/dipo-2
    """
    import os

    from rich.console import Console

    from dipo_eval.errors import UserError
    from dipo_eval.files.places import check_can_make_folder
    from dipo_openrlhf.compare import choose, judge_finished
    from dipo_openrlhf.compare.run import compare, most_runs

    if listed:
        typer.echo(choose.listing())
        return
    if judge_finished.are_paths(what or []):
        given = {
            "--out": out, "--methods": methods, "--tasks": tasks, "--seeds": seeds, "--budget-tokens": budget_tokens,
            "--stack": stack, "--workers": workers, "--dry-run": dry_run or None,
        }  # fmt: skip
        choose.refuse_without_effect(given)
        verdicts = judge_finished.judge_finished(judge_finished.contestants(what or []), margin or 0.02, 0.05)
        typer.echo(judge_finished.finished_table(verdicts))
        return
    comparison = choose.chosen(what or [], methods, tasks, seeds, budget_tokens, stack, margin)
    folder = out or Path("comparisons") / comparison.name
    if comparison.stack == "openrlhf" and (workers or 1) > 1:
        raise UserError("--workers: a run on the full stack takes all cores: leave it out")
    at_a_time = 1 if comparison.stack == "openrlhf" else workers or os.cpu_count() or 1
    if dry_run:
        check_can_make_folder(folder, "--out")
        typer.echo(choose.described(comparison, folder, at_a_time, most_runs(comparison)))
        return
    compare(comparison, folder, at_a_time, Console())
    typer.echo((folder / "table.md").read_text(encoding="utf-8"))
    typer.echo(f"report: {folder / 'report.html'}")
