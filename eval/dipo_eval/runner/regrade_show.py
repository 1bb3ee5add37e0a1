"""The tables of `dipo grade`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dipo_eval.printable import visible
from dipo_eval.results.stored_checks import STATUSES
from dipo_eval.runner.regrade import Regraded

_TOP_REASONS = 12


def _table(title: str, *names: str, right: Collection[str]) -> Table:
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD)
    for name in names:
        table.add_column(name, overflow="fold", justify="right" if name in right else "left")
    return table


def verdict_table(graded: Sequence[Regraded], against: str | None) -> Table:
    """Counts of each status: stored, now, and the second grader's."""
    columns: dict[str, Counter[str | None]] = {
        "stored": Counter(one.stored for one in graded),
        "now": Counter(one.verdict.status for one in graded),
    }
    if against:
        columns[against] = Counter(one.second.status for one in graded if one.second)
    table = _table(f"{len(graded)} samples", "verdict", *columns, right=columns)
    for status in STATUSES:
        table.add_row(status, *(f"{counts[status]:,}" for counts in columns.values()))
    if columns["stored"][None]:
        table.add_row("none", f"{columns['stored'][None]:,}", *("" for _ in range(len(columns) - 1)))
    return table


def reason_table(graded: Sequence[Regraded]) -> Table:
    """The most frequent reasons of each verdict."""
    table = _table("Reasons", "verdict", "reason", "samples", right=["samples"])
    counts = Counter((one.verdict.status, one.verdict.reason) for one in graded)
    order = sorted(counts.items(), key=lambda pair: (STATUSES.index(pair[0][0]), -pair[1], pair[0][1]))
    for (status, reason), count in order[:_TOP_REASONS]:
        table.add_row(status, Text(visible(reason)), f"{count:,}")
    if len(order) > _TOP_REASONS:
        table.caption = f"and {len(order) - _TOP_REASONS} more reasons"
    return table


def print_list(
    console: Console, title: str, items: Sequence[Regraded], show: int, against: str | None
) -> None:
    """One row a sample: item, line, both verdicts and reasons, the response's answer (else its end), the gold."""
    if not items or not show:
        console.print(title, markup=False, highlight=False)
        return
    names = ("item", "line", against or "stored", "now", "its reason", "reason now", "answer", "gold")
    table = _table(title, *names, right=["line"])
    for one in items[:show]:
        other, why = one.stored, one.row.get("reason")
        if against and one.second:
            other, why = one.second.status, one.second.reason
        answer = one.verdict.extracted
        shown = visible(answer) if answer is not None else f"(none) {visible(one.row['response'])}"
        gold = one.row["gold"]
        cells = (
            visible(one.row["item_id"], 60), str(one.line), str(other), one.verdict.status,
            visible(str(why or ""), 60), visible(one.verdict.reason, 60), shown,
            visible(gold if isinstance(gold, str) else json.dumps(gold)),
        )  # fmt: skip
        table.add_row(*map(Text, cells))
    if len(items) > show:
        table.caption = f"and {len(items) - show} more; --show {len(items)} lists all"
    console.print(table)
