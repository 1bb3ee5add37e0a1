"""The verdict of a check: a table for the terminal, and report.json with every figure."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dipo_eval.engines.device import gpu_name
from dipo_eval.printable import visible
from dipo_openrlhf.gpu_check.processes import PartResult
from dipo_openrlhf.gpu_check.settings import CheckSettings
from dipo_openrlhf.record.provenance import installed_versions

REPORT, ROWS = "report.json", "rows.json"


@dataclass(frozen=True)
class Report:
    """passed: every part ended as it was to, and no row has failed. `rows`: of Row.as_dict."""

    passed: bool
    machine: dict[str, Any]
    settings: dict[str, Any]
    parts: list[dict[str, Any]]
    rows: list[dict[str, Any]]

    @classmethod
    def of(cls, settings: CheckSettings, parts: Sequence[PartResult]) -> Report:
        path = settings.root / ROWS
        rows = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        passed = (
            bool(rows) and all(part.ok for part in parts) and not any(row["passed"] is False for row in rows)
        )
        machine = {
            "gpu": None if settings.cpu else gpu_name(),
            "gpus": settings.gpus,
            "simulated": settings.cpu,
            "machine": platform.machine(),
            "versions": installed_versions(),
        }
        return cls(
            passed, machine, dataclasses.asdict(settings), [dataclasses.asdict(p) for p in parts], rows
        )


def write_report(settings: CheckSettings, report: Report) -> None:
    text = json.dumps(dataclasses.asdict(report), indent=2) + "\n"
    (settings.root / REPORT).write_text(text, encoding="utf-8")


def print_report(console: Console, settings: CheckSettings, report: Report) -> None:
    """The table, what every failure means, and the verdict."""
    table = Table(show_edge=False, pad_edge=False)
    for column in ("what", "found", "pass", ""):
        table.add_column(column, overflow="fold")
    for row in report.rows:
        style = {True: "green", False: "bold red", None: "yellow"}[row["passed"]]
        table.add_row(
            Text(row["name"]), Text(row["found"]), Text(row["limit"]), Text(row["result"], style=style)
        )
    console.print(table)
    for row in report.rows:
        if row["meaning"]:
            _line(console, f"{row['name']}: {row['meaning']}")
    for part in report.parts:
        if part["ended"] not in ("done", "killed"):
            _line(console, f"part {part['name']}: {part['why']}")
    where = (
        "simulated GPUs, on CPU" if settings.cpu else f"{report.machine['gpus']} x {report.machine['gpu']}"
    )
    seconds = sum(part["seconds"] for part in report.parts)
    word = "passed" if report.passed else "FAILED"
    _line(
        console,
        f"check {word} on {where} in {seconds / 60:.1f} minutes; all figures: {settings.root / REPORT}",
    )


def _line(console: Console, text: str) -> None:
    console.print(visible(text, 2000), markup=False, highlight=False, soft_wrap=True)
