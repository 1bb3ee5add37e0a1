"""The leaderboard without the page: Markdown for a CI summary or a pull request, CSV for a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Sequence

from dipo_eval.board import numbers
from dipo_eval.board.data.load import Metric
from dipo_eval.board.table.leaderboard import Row, official_scores
from dipo_eval.printable import shows, spelled

_ACTIVE = re.compile(
    r"(?P<linked>@(?=[\w-])|\#(?=\d)|:(?=//)|(?<=www)\.)|[\\`*_{}\[\]<>()\#|~&!]", re.IGNORECASE
)
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
        cells = [
            cell(f"{row.result.run}/{row.result.checkpoint}"),
            cell(row.result.suite),
            numbers.count(row.result.step),
            _accuracy(row.accuracy),
            _difference(row),
            *([_share(row.result.highest("pass")), _share(row.result.highest("maj"))] if has_k else []),
            *([cell(_official(row)) or numbers.DASH] if has_official else []),
            *map(numbers.count, _counts(row)),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _accuracy(metric: Metric | None) -> str:
    if metric is None:
        return numbers.DASH
    return f"{numbers.percent(metric.value)} ({numbers.percent_interval(metric.low, metric.high)})"


def _difference(row: Row) -> str:
    if row.is_baseline:
        return "baseline"
    if row.difference:
        return f"{row.difference.points} ({row.difference.detail}): {row.difference.verdict}"
    return cell(f"not comparable: {row.not_comparable}") if row.not_comparable else numbers.DASH


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
    over_k = [metric.value if metric else None for metric in (result.highest("pass"), result.highest("maj"))]
    return [*names, *level, *change, *_counts(row), *over_k, _text(_official(row)), _text(row.not_comparable)]


def _counts(row: Row) -> list[int | None]:
    return [row.n_items, row.n_samples, *(row.result.counts.get(name) for name in ("truncated", "undecided"))]


def _share(metric: Metric | None) -> str:
    return numbers.percent(metric.value if metric else None)


def _official(row: Row) -> str:
    """Other harnesses' scores, such as "lm-eval flexible-extract 47.6%"."""
    return "; ".join(f"{name} {numbers.percent(one.value)}" for name, one in official_scores(row.result))


def cell(text: str) -> str:
    """`text` as one Markdown table cell in which nothing is markup, a link or a mention, and nothing hidden."""
    return _ACTIVE.sub(_inert, spelled(" ".join(text.split())))


def _inert(found: re.Match[str]) -> str:
    # GitHub links and mentions in the text after Markdown, where a backslash is gone: an element parts it.
    return f"<span>{found[0]}</span>" if found["linked"] else f"\\{found[0]}"


def _text(value: str) -> str:
    """A spreadsheet would run a name that starts like a formula (OWASP, "CSV Injection"), blanks before it or not."""
    start = next((char for char in value if shows(char) and not char.isspace()), "")
    is_formula = unicodedata.normalize("NFKC", start)[:1] in ("=", "+", "-", "@")  # full-width ones too
    return ("'" if is_formula or value[:1] in ("\t", "\r") else "") + spelled(value)
