"""Rehearse recipes on two simulated nodes and write the table of docs/rehearsal.md: what ran, and how long it took.

    python benchmarks/rehearsals.py --rows rows.jsonl [NAME ...]     append a row a recipe; default: all of the tests
    python benchmarks/rehearsals.py --rows rows.jsonl --write-docs   put the rows into docs/rehearsal.md

A rehearsal that fails is a row too, with its reason. The runs are those of tests/end_to_end/test_rehearsal.py.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "end_to_end"))

from rehearsals import rehearse  # noqa: E402
from test_rehearsal import MORE, QUICK  # noqa: E402

from dipo_eval.engines.device import set_process_env  # noqa: E402
from dipo_eval.workers.cores import usable_cores  # noqa: E402

DOCUMENT = ROOT / "docs/rehearsal.md"
BEGIN, END = "<!-- rows of benchmarks/rehearsals.py -->", "<!-- end of rows -->"


def run_one(name: str, overrides: tuple[str, ...], keep: Path | None) -> dict[str, Any]:
    """A row: what was seen, or why it failed."""
    with tempfile.TemporaryDirectory(prefix="dipo-rehearsal-") as scratch:
        folder = (keep or Path(scratch)) / "-".join([name, *overrides[:1]])
        try:
            found = rehearse(name, folder, overrides)
        except Exception as error:
            return {"name": " ".join([name, *overrides]), "failed": str(error).strip().splitlines()[-1:]}
        return {**found.row(), "date": date.today().isoformat(), "machine": _machine()}


def _machine() -> str:
    return f"{usable_cores()} cores, {platform.machine()}"


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, the last row of each name."""
    lines = [
        "| recipe | steps | killed after, resumed from | checkpoints | evaluated | ranks; engines on nodes | first step "
        "| first step after the kill | total |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in {row["name"]: row for row in rows if "failed" not in row}.values():
        placed = "; ".join(", ".join(nodes) for _, nodes in sorted(row["placed"].items(), key=_ranks_first))
        lines.append(
            f"| `{row['name']}` | {row['steps'][-1]} | {row['resumed_from']} | {_list(row['checkpoints'])} | "
            f"{_list(row['evaluated'])} | {placed} | {row['first_step_s']:.0f} s | {row['resumed_step_s']:.0f} s | "
            f"{row['total_s']:.0f} s |"
        )
    return "\n".join(lines)


def _ranks_first(placed: tuple[str, list[str]]) -> bool:
    return "Engine" in placed[0]


def _list(values: list[int]) -> str:
    return ", ".join(map(str, values))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*")
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--write-docs", action="store_true")
    parser.add_argument("--keep", type=Path, help="Folder in which the runs' own folders are kept.")
    options = parser.parse_args()
    if options.write_docs:
        rows = [json.loads(line) for line in options.rows.read_text(encoding="utf-8").splitlines()]
        before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
        DOCUMENT.write_text(
            f"{before}{BEGIN}\n\n{table(rows)}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8"
        )
        return 0
    set_process_env()
    everything = [(QUICK, ()), *MORE]
    wanted: list[tuple[str, tuple[str, ...]]] = [(name, ()) for name in options.names] or everything
    for name, overrides in wanted:
        row = run_one(name, overrides, options.keep)
        with open(options.rows, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
