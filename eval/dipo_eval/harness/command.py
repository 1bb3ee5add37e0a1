"""`dipo eval --with`: official scores beside ours, as tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dipo_eval.harness.base import Advance, Harness
from dipo_eval.harness.report import official_path, official_scores
from dipo_eval.printable import visible

SHOWN = 5
Result = tuple[Path, Mapping[str, Any]]
"""A results folder and its results.json."""
Scored = tuple[Result, dict[str, Any]]
Bar = Callable[[str, int], AbstractContextManager[Advance]]


def score_officially(results: Sequence[Result], harnesses: Sequence[Harness], bar: Bar) -> list[Scored]:
    """The scores of every result's stored samples by every harness that covers its suite, each under a progress bar."""
    scored = []
    for harness in harnesses:
        for folder, result in results:
            if harness.covers(result["suite"]):
                label = f"{result['checkpoint']}: {result['suite']} by {harness.name}"
                with bar(label, result["n_items"] * result["n_samples_per_item"]) as advance:
                    scored.append(((folder, result), official_scores(folder, result, harness, advance)))
    return scored


def show_official(scored: Sequence[Scored], console: Console) -> None:
    """Print the scores, and the first of those that differ from ours."""
    if not scored:
        return
    console.print(official_table(scored))
    for (folder, _), official in scored:
        if official["disagreements"]:
            console.print(disagreement_table(folder, official))


def official_table(scored: Sequence[Scored]) -> Table:
    """One row a metric: ours and theirs in percent on the same samples, and how many of them are scored differently."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in ("checkpoint", "suite", "harness", "metric"):
        table.add_column(name, overflow="fold")
    for name in ("ours", "theirs", "differ", "n", "undec."):
        table.add_column(name, justify="right", no_wrap=True)
    for (_, result), official in scored:
        for name, metric in official["metrics"].items():
            table.add_row(
                result["checkpoint"],
                official["suite"],
                f"{official['harness']} {official['version']}",
                name,
                _percent(metric["ours"]),
                _percent(metric["value"]),
                "" if metric["disagreements"] is None else str(metric["disagreements"]),
                str(metric["n"]),
                str(official["undecided"]),
            )
    left_out = sum(official["left_out"] for _, official in scored)
    table.caption = f"{left_out} samples are not scored by the harness" if left_out else None
    return table


def disagreement_table(folder: Path, official: Mapping[str, Any]) -> Table:
    """The first samples that are scored differently, with both reasons."""
    rows = official["disagreements"]
    path = official_path(folder, official["harness"])
    title = f"{official['suite']}: {len(rows)} scores differ from {official['harness']}'s; all are in {path}"
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("item", "sample", "metric", "ours", "theirs", "our reason", "their reason"):
        table.add_column(name, overflow="fold")
    for row in rows[:SHOWN]:
        theirs = "undecided" if row["theirs"] is None else f"{row['theirs']:g}"
        scores = row["item_id"], row["sample"], row["metric"], row["ours"], theirs
        reasons = row["our_reason"] or "", row["their_reason"]
        table.add_row(*(Text(visible(str(cell), 60)) for cell in (*scores, *reasons)))
    return table


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}%"
