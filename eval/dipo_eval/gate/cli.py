"""`dipo gate`: compare a checkpoint with a baseline on stored samples; the exit status is the verdict."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from dipo_eval.errors import UserError


def gate_command(
    results: Annotated[Path, typer.Option(help="Folder with RUN/CHECKPOINT/SUITE/results.json.")],
    candidate: Annotated[str, typer.Option(help="CHECKPOINT or RUN/CHECKPOINT to judge.")],
    baseline: Annotated[str, typer.Option(help="CHECKPOINT or RUN/CHECKPOINT to compare with.")],
    baseline_results: Annotated[
        Path | None, typer.Option(help="Folder of the baseline's results, where it is another.")
    ] = None,
    margin: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Largest drop that passes; 0.01 is one point. Default: 0.01, or the config's.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="YAML with margin, confidence, max_undecided, may_differ and suites.NAME.margin."),
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Also write JUnit XML.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also append Markdown, e.g. to a CI summary.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write JSON.")] = None,
) -> None:
    """Fail only where a checkpoint is significantly worse than a baseline.

    Both are compared on the same items, paired. Exit status: 0 pass (not worse by more than the margin), 1 regression
    (worse, and not by luck), 3 inconclusive (these samples do not decide; the table gives how many would), 2 not judged
    (missing or incomparable results). A lower accuracy alone never fails. Example:

        dipo gate --results results --candidate global_step20 --baseline global_step0 --margin 0.02
    """
    from dipo_eval.gate import report as gate_report
    from dipo_eval.gate.config import read_limits
    from dipo_eval.gate.inputs import compare_checkpoints, find_checkpoint
    from dipo_eval.gate.show import print_verdict
    from dipo_eval.gate.verdict import EXIT_CODES, decide, overall

    limits = read_limits(config, margin)
    reports = {"--junit": junit, "--markdown": markdown, "--json": json_file}
    for option, path in reports.items():
        _check_target(option, path)
    ours = find_checkpoint(results, candidate)
    theirs = (
        find_checkpoint(baseline_results, baseline, "--baseline-results")
        if baseline_results
        else find_checkpoint(results, baseline)
    )
    compared, notes = compare_checkpoints(ours, theirs, limits)
    suites = decide(compared, limits.confidence)
    verdict = overall(suites)
    # First, so that what is printed agrees with the exit status.
    _write(junit, gate_report.to_junit(ours.name, theirs.name, suites))
    _write(json_file, gate_report.to_json(ours.name, theirs.name, suites) + "\n")
    _write(markdown, gate_report.to_markdown(ours.name, theirs.name, suites), mode="a")
    print_verdict(ours.name, theirs.name, suites, verdict, notes)
    raise typer.Exit(EXIT_CODES[verdict])


def _check_target(option: str, path: Path | None) -> None:
    """Raises UserError for a report that cannot be written, before anything is judged. Missing folders will be made."""
    if path is None:
        return
    if path.is_dir():
        raise UserError(f"{option} {path}: is a folder; name a file")
    from dipo_eval.results.store import check_not_stored

    check_not_stored(path, option)
    there = next(one for one in (path, *path.parents) if one.exists() or one == one.parent)
    if there != path and not there.is_dir():
        raise UserError(f"{option} {path}: {there} is a file; name another folder")
    if not os.access(there, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise UserError(f"{option} {path}: {there} may not be written to; name another file")


def _write(path: Path | None, text: str, mode: Literal["w", "a"] = "w") -> None:
    """Raises UserError where the report cannot be written: a gate without its report has failed."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open(mode, encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f"{path}: the report cannot be written ({error.strerror})") from None
