"""AIME 2024: 30 problems, integer answers 0 to 999. One problem is 3.3 points: draw many samples.

Row of aime24.jsonl:
    {"id": "aime24-0", "question": "Among the 900 residents of Aimeville, there are 195 who own a diamond
    ring, ...",
     "answer": "73", "source": "AIME 2024"}
"""

from __future__ import annotations

from pathlib import Path

from dipo_eval.suites.base import Item, Suite
from dipo_eval.suites.math_file import grade_item, load_math_file


def _load(data_dir: Path | None, limit: int | None, seed: int) -> list[Item]:
    return load_math_file(data_dir, "aime24.jsonl", limit, seed)


SUITE = Suite(
    name="aime24",
    source="AIME I and II 2024",
    licence="problem text (c) Mathematical Association of America",
    metric="avg@k, maj@k, pass@k",
    load=_load,
    grade=grade_item,
)
