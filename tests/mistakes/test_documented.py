"""Every line of docs/mistakes.md is what the command prints."""

from __future__ import annotations

from pathlib import Path

import pytest
from documented import DOCUMENT, MISTAKES, Mistake, printed, row

LINES = DOCUMENT.read_text(encoding="utf-8").splitlines()


def test_the_document_has_these_mistakes_and_no_others() -> None:
    rows = [line for line in LINES if line.startswith("| ") and "``" in line]
    assert len(rows) == len(MISTAKES), "run python tests/mistakes/documented.py"


@pytest.mark.parametrize("mistake", MISTAKES, ids=[one.what for one in MISTAKES])
def test_a_line_is_what_is_printed(tmp_path: Path, model: Path, mistake: Mistake) -> None:
    folder = tmp_path.resolve() / "here"
    folder.mkdir()
    assert row(mistake, printed(mistake, folder, model)) in LINES, "run python tests/mistakes/documented.py"
