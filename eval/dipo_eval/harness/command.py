"""`dipo eval --with`: official scores beside ours, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dipo_eval.harness.base import Harness
from dipo_eval.harness.report import official_path, official_scores
from dipo_eval.printable import visible
from dipo_eval.runner.progress import reporter

if TYPE_CHECKING:
    from dipo_eval.runner.task import SuiteResult

SHOWN = 5

Scored = tuple["SuiteResult", dict[str, Any]]


def show_official(results: Sequence[SuiteResult], harnesses: Sequence[Harness], console: Console) -> None:
    """Score the stored samples of every result by every harness that covers its suite; print what differs from ours."""
    scored: list[Scored] = []
    with reporter(console.is_terminal) as report:
        for harness in harnesses:
            for item in results:
                if harness.covers(item.result["suite"]):
                    label = f"{item.result['checkpoint']}: {item.result['suite']} by {harness.name}"
                    total = item.result["n_items"] * item.result["n_samples_per_item"]
                    with report.bar(label, total) as advance:
                        scored.append((item, official_scores(item.folder, item.result, harness, advance)))
    if not scored:
        return
    console.print(official_table(scored))
    for item, official in scored:
        if official["disagreements"]:
            console.print(disagreement_table(item, official))


def official_table(scored: Sequence[Scored]) -> Table:
    """One row a metric: ours and theirs in percent on the same samples, and how many of them are scored otherwise."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in ("checkpoint", "suite", "harness", "metric"):
        table.add_column(name, overflow="fold")
    for name in ("ours", "theirs", "differ", "n", "undec."):
        table.add_column(name, justify="right", no_wrap=True)
    for item, official in scored:
        for name, metric in official["metrics"].items():
            table.add_row(
                item.result["checkpoint"],
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


def disagreement_table(item: SuiteResult, official: Mapping[str, Any]) -> Table:
    """The first samples that are scored otherwise, with both reasons."""
    rows = official["disagreements"]
    path = official_path(item.folder, official["harness"])
    title = f"{official['suite']}: {len(rows)} scores differ from {official['harness']}'s; all are in {path}"
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("item", "sample", "metric", "ours", "theirs", "our reason", "their reason"):
        table.add_column(name, overflow="fold")
    for row in rows[:SHOWN]:
        table.add_row(
            Text(visible(row["item_id"], 60)),
            str(row["sample"]),
            row["metric"],
            str(row["ours"]),
            "undecided" if row["theirs"] is None else f"{row['theirs']:g}",
            Text(visible(str(row["our_reason"] or ""), 60)),
            Text(visible(row["their_reason"], 60)),
        )
    return table


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}%"
