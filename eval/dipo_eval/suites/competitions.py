r"""Competitions with integer answers, such as AIME: what their suites share.

Row of aime24.jsonl (the others have the same fields):
    {"id": "aime24-0", "question": "Among the 900 residents of Aimeville, there are 195 who own a diamond ring, ...",
     "answer": "73", "source": "AIME 2024"}
"""

from __future__ import annotations

from dipo_eval.suites.base import Suite
from dipo_eval.suites.data_file import DataFile
from dipo_eval.suites.hub import HubData
from dipo_eval.suites.math_file import math_suite


def competition(name: str, source: str, metric: str, sha256: str, hub: HubData) -> Suite:
    """The suite of NAME.jsonl, whose published copy has this hash."""
    rights = "problem text (c) Mathematical Association of America"
    data = DataFile(f"{name}.jsonl", sha256, hub)
    return math_suite(name=name, source=source, license=rights, metric=metric, data=data)
