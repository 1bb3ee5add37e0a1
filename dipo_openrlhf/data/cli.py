"""`dipo data`: prompts to train on, from the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dipo_eval.errors import UserError
from dipo_eval.files.places import check_can_write
from dipo_openrlhf.data.options import Options
from dipo_openrlhf.recipe.command_options import takes_options

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from dipo_openrlhf.data.base import Dataset
    from dipo_openrlhf.data.prepare import Outcome


@takes_options(Options)
def data_command(
    name: Annotated[
        str | None,
        typer.Argument(
            help="gsm8k, math, dapo_math, toolrl, seal_tools, arithmetic, tool_calls, pantry or bfcl_multi_turn "
            "(--list shows them)."
        ),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the data sets and stop.")] = False,
    *,
    options: Options,
) -> None:
    """Prepare prompts to train on: each problem once, no problem of an evaluation suite, every gold gradable.

    Example:

        dipo data gsm8k --data-dir data --out data/train.jsonl

    FILE.report.json is written beside FILE.jsonl: counts, and every row that was left out with what it met. The same
    input gives the same bytes; their sha256 is recorded in every checkpoint. What each rule is: docs/data.md.
    """
    from rich.console import Console

    from dipo_eval.runner.progress import Reporter
    from dipo_openrlhf.data import get_dataset
    from dipo_openrlhf.data.prepare import prepare

    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    if list_:
        _print_list(console)
        return
    if name is None:
        raise UserError("no data set named; dipo data --list shows them")
    if options.out == Path():
        raise UserError("no output file; give --out FILE.jsonl")
    if options.out.suffix != ".jsonl":
        raise UserError(f"--out {options.out}: must end in .jsonl, which is what training reads")
    dataset = get_dataset(name)
    check_can_write(options.out, "--out")
    if options.data_dir is not None and not options.data_dir.is_dir():
        raise UserError(
            f"--data-dir {str(options.data_dir)!r}: no such folder; nothing could be compared with the suites"
        )
    with Reporter(sys.stderr.isatty()) as progress:
        outcome = prepare(dataset, options, progress)
    _print_outcome(console, dataset, outcome)


def _print_list(console: Console) -> None:
    from dipo_openrlhf.data import all_datasets

    table = _table("name", "rows", "reward", "license", "source", "rows of a local file", numbers=("rows",))
    for one in all_datasets().values():
        table.add_row(one.name, one.rows, f"rewards/{one.reward}.py", one.license, one.source, one.fields)
    console.print(table)


def _print_outcome(console: Console, dataset: Dataset, outcome: Outcome) -> None:
    def log(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    report, counts = outcome.report, outcome.report["counts"]
    log(f"{report['source']}: {counts['read']:,} rows")
    if counts["same_row_again"]:
        log(f"the same row again: {counts['same_row_again']:,}")
    for why, number in counts["dropped"].items():
        log(f"dropped, {why}: {number:,}")
    if counts["left_by_limit"]:
        log(f"beyond --limit: {counts['left_by_limit']:,}")
    counted = ("items", "exact", "n-gram", "same wording, other numbers")
    table = _table("compared with", *counted, numbers=counted)
    for name, found in report["suites"].items():
        table.add_row(name, *(f"{found[key]:,}" for key in ("items", "exact", "n-gram", "wording")))
    console.print(table)
    for name, reason in report["not_checked"].items():
        log(f"NOT compared with {name}: {reason}")
    for one in outcome.files:
        log(f"{one.path}: {one.rows:,} prompts{', unchanged' if one.unchanged else ''}, sha256 {one.sha256}")
    log(f"report: {outcome.report_path}")
    if dataset.reward == "tool_agent":
        log("recipe: train.agent_func_path: tool_agent, data.apply_chat_template: false")
    elif dataset.reward != "math":
        log(f"recipe: reward.remote_url: {dataset.reward}")


def _table(*columns: str, numbers: tuple[str, ...]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in numbers else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=column in (columns[0], *numbers))
    return table
