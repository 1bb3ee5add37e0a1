r"""AMC 2023: 40 problems, restated so that the answer is an integer (no choices).

Row of amc23.jsonl:
    {"id": "amc23-1", "question": "Positive real numbers \$x\$ and \$y\$ satisfy \$y^3=x^2\$ and
    \$(y-x)^2=4y^2\$. What is
     \$x+y\$?", "answer": "36", "url": "https://artofproblemsolving.com/wiki/...", "source": "AMC 12A/12B
     2023 ..."}
"""

from __future__ import annotations

from pathlib import Path

from dipo_eval.suites.base import Item, Suite
from dipo_eval.suites.math_file import grade_item, load_math_file


def _load(data_dir: Path | None, limit: int | None, seed: int) -> list[Item]:
    return load_math_file(data_dir, "amc23.jsonl", limit, seed)


SUITE = Suite(
    name="amc23",
    source="AMC 12A and 12B 2023, the 40 problems of Qwen2.5-Math's evaluation",
    licence="problem text (c) Mathematical Association of America",
    metric="avg@k",
    load=_load,
    grade=grade_item,
)
