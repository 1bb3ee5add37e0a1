"""The leaderboard without the page: Markdown for a CI summary or a pull request, CSV for a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from dipo_eval.board import numbers
from dipo_eval.board.data.load import Metric
from dipo_eval.board.table.leaderboard import Row, difference_words, official_scores

CSV_COLUMNS = (
    "run", "checkpoint", "step", "suite", "accuracy", "low", "high", "difference", "difference_low",
    "difference_high", "p_value", "common_items", "n_items", "n_samples_per_item", "truncated", "undecided",
    "pass_at_k", "maj_at_k", "official", "not_comparable",
)  # fmt: skip


def to_markdown(table: Sequence[Row], baseline: tuple[str, str] | None) -> str:
    """A GitHub table, one line a checkpoint and suite."""
    against = f"Difference to {cell('/'.join(baseline))}" if baseline else "Difference"
    has_k = any((row.n_samples or 1) > 1 for row in table)
    has_official = any(row.result.official for row in table)
    more = ["pass@k", "maj@k"] if has_k else []
    more += ["Official"] if has_official else []
    names = ["Checkpoint", "Suite", "Step", "Accuracy (95% interval)", f"{against}, points", *more]
    names += ["n", "k", "Truncated", "Undecided"]
    lines = ["| " + " | ".join(names) + " |", "|---|---|" + "--:|" * (len(names) - 2)]
    for row in table:
        shift, detail, verdict = difference_words(row.difference)
        difference = (
            "baseline"
            if row.is_baseline
            else f"{shift} ({detail}): {verdict}"
            if shift
            else cell(f"not comparable: {row.apart}")
            if row.apart
            else numbers.DASH
        )
        accuracy = numbers.DASH
        if row.accuracy:
            interval = numbers.percent_interval(row.accuracy.low, row.accuracy.high)
            accuracy = f"{numbers.percent(row.accuracy.value)} ({interval})"
        cells = [
            cell(f"{row.result.run}/{row.result.checkpoint}"),
            cell(row.result.suite),
            numbers.count(row.result.step),
            accuracy,
            difference,
            *([_share(row.result.highest("pass")), _share(row.result.highest("maj"))] if has_k else []),
            *([cell(_official(row)) or numbers.DASH] if has_official else []),
            numbers.count(row.n_items),
            numbers.count(row.n_samples),
            numbers.count(row.result.counts.get("truncated")),
            numbers.count(row.result.counts.get("undecided")),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def to_csv(table: Sequence[Row]) -> str:
    """The same with full precision; shares in [0, 1], an empty cell where there is no number."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in table:
        writer.writerow(_csv_cells(row))
    return out.getvalue()


def _csv_cells(row: Row) -> list[object]:
    result, accuracy, shift = row.result, row.accuracy, row.difference
    names = [_text(result.run), _text(result.checkpoint), result.step, _text(result.suite)]
    level = [accuracy.value, accuracy.low, accuracy.high] if accuracy else [None] * 3
    change = [shift.mean, shift.low, shift.high, shift.p_value, shift.n_items] if shift else [None] * 5
    counts = [row.n_items, row.n_samples, result.counts.get("truncated"), result.counts.get("undecided")]
    over_k = [metric.value if metric else None for metric in (result.highest("pass"), result.highest("maj"))]
    return [*names, *level, *change, *counts, *over_k, _text(_official(row)), _text(row.apart)]


def _share(metric: Metric | None) -> str:
    return numbers.percent(metric.value if metric else None)


def _official(row: Row) -> str:
    """What other harnesses say, such as "lm-eval flexible-extract 47.6%"."""
    return "; ".join(f"{one.name} {numbers.percent(one.value)}" for one in official_scores(row.result))


def cell(text: str) -> str:
    """`text` as one Markdown table cell in which nothing is markup."""
    one_line = " ".join(text.split())
    return re.sub(r"([\\`*_{}\[\]<>()#|~&!])", r"\\\1", one_line)


def _text(value: str) -> str:
    """A name that starts like a formula would be run by a spreadsheet: https://owasp.org/www-community/attacks/CSV_Injection."""
    return "'" + value if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
