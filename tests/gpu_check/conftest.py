"""The folder of a check whose parts have all done right, made with a random model of a few thousand parameters."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "eval"))

from made_check import MadeCheck


@pytest.fixture
def made(tmp_path: Path) -> MadeCheck:
    return MadeCheck(tmp_path / "check")
