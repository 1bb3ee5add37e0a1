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
from dipo_eval.suites.data_file import DataFile, Record
from dipo_eval.suites.hub import HubData
from dipo_eval.suites.math_file import grade_item, load_math_file


def _row(row: Record, number: int) -> Record:
    return {"id": f"amc23-{number - 1}", "question": row["question"], "answer": str(row["answer"])}


DATA = DataFile(
    "amc23.jsonl",
    "6232eab6d9cc082e9ce9dcd2c1008606e0c14b4d38d49489689af4ae1e35f585",
    HubData("math-ai/amc23", "test", _row, 40),
)


def _load(data_dir: Path | None, limit: int | None, seed: int) -> list[Item]:
    return load_math_file(data_dir, DATA, limit, seed)


SUITE = Suite(
    name="amc23",
    source="AMC 12A and 12B 2023, the 40 problems of Qwen2.5-Math's evaluation",
    license="problem text (c) Mathematical Association of America",
    metric="avg@k",
    load=_load,
    grade=grade_item,
    data=DATA,
)
