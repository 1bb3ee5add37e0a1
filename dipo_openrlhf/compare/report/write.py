"""All files of a report, written anew from the runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dipo_eval.files.atomic import write_atomic
from dipo_openrlhf.compare.referee import TaskResult
from dipo_openrlhf.compare.report.figures import write_figures
from dipo_openrlhf.compare.report.page import report_page
from dipo_openrlhf.compare.report.points import write_points
from dipo_openrlhf.compare.report.table import markdown
from dipo_openrlhf.compare.spec import Comparison
from dipo_openrlhf.compare.tuning import Tuned


def write_report(
    comparison: Comparison, results: Sequence[TaskResult], tuned: Sequence[Tuned], folder: Path
) -> None:
    """report.html, table.md, steps.csv, evaluations.csv, items.csv and figures/ in the comparison's folder."""
    write_atomic(folder / "table.md", markdown(comparison, results, tuned).encode())
    write_points(results, folder)
    write_figures(comparison, results, folder / "figures")
    write_atomic(folder / "report.html", report_page(comparison, results, tuned).encode())
