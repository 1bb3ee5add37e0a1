"""`dipo data`: prompts to train on, from the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dipo_eval.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from dipo_openrlhf.data import Dataset
    from dipo_openrlhf.data.prepare import Outcome


def data_command(
    name: Annotated[
        str | None, typer.Argument(help="gsm8k, math, dapo_math, toolrl or arithmetic (--list shows them).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The prompts file, .jsonl: the recipe's data.prompt_dataset.")
    ] = None,
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from", help="A .jsonl, .json or .parquet file. Default: the data folder's, else the hub's."
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(envvar="DIPO_DATA_DIR", help="Folder of the data sets' and the suites' files."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many prompts, chosen by the hash of seed and id.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of --limit, --split and generated prompts.")] = 0,
    split: Annotated[
        float, typer.Option(min=0.0, max=0.99, help="Share that is held out, into FILE.heldout.jsonl, by id.")
    ] = 0.0,
    prompt: Annotated[
        str | None,
        typer.Option(
            help="boxed (the suites' own instruction), plain, dapo, or a string with {question}. "
            "Default: boxed, for arithmetic and toolrl plain."
        ),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(help="A suite of your own (.yaml, .py) to compare with; several times."),
    ] = None,
    suite_seed: Annotated[
        int, typer.Option(help="Your evaluation's --seed: arithmetic-control is generated from it.")
    ] = 0,
    ngram: Annotated[int, typer.Option(min=2, help="Words in an n-gram.")] = 8,
    share: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="A hit: more of a suite problem's words than this in n-grams."),
    ] = 0.5,
    drop_wording: Annotated[
        bool, typer.Option("--drop-wording", help="Drop also what differs from a suite's problem in numbers.")
    ] = False,
    drop_bad: Annotated[
        bool, typer.Option("--drop-bad", help="Leave rows with unsound golds or ids out, and list them.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file with other content.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="List the data sets and stop.")] = False,
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
    from dipo_openrlhf.data.prepare import Options, prepare

    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    if list_:
        _print_list(console)
        return
    if name is None:
        raise UserError("no data set named; dipo data --list shows them")
    if out is None:
        raise UserError("no output file; give --out FILE.jsonl")
    if out.suffix != ".jsonl":
        raise UserError(f"--out {out}: must end in .jsonl, which is what training reads")
    options = Options(
        out, from_, data_dir, limit, seed, split, prompt, tuple(also or ()), suite_seed, ngram, share,
        drop_wording, drop_bad, force
    )  # fmt: skip
    dataset = get_dataset(name)
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
    if dataset.reward != "math":
        log(f"recipe: reward.remote_url: {dataset.reward}")


def _table(*columns: str, numbers: tuple[str, ...]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in numbers else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=column in (columns[0], *numbers))
    return table
