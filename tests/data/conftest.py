"""A data folder with small files under the benchmarks' names, and the suites that these make."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dipo_eval.suites import all_suites
from dipo_openrlhf.data import leaks

QUICK = ("arithmetic-control", "gsm8k", "math500", "minerva")


def lines(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def write():
    return lines


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """gsm8k's test with three problems; math500 and minerva are missing. The other suites are left out: BFCL's
    4,441 items take seconds to read, and test_data_real.py reads them."""
    questions = (
        "A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts in total does it take?",
        "A plane travels 1,200 miles in 3 hours. At the same rate, how many additional hours would it take to "
        "travel an additional 2,000 miles?",
        "What is 6 * 7?",
    )
    lines(
        tmp_path / "data" / "gsm8k_test.jsonl",
        [{"id": f"t{i}", "question": q, "answer": "3"} for i, q in enumerate(questions)],
    )
    found = {name: suite for name, suite in all_suites().items() if name in QUICK}
    monkeypatch.setattr(leaks, "all_suites", lambda: found)
    monkeypatch.delenv("DIPO_DATA_DIR", raising=False)
    return tmp_path / "data"
