r"""AIME 2025: 30 problems, integer answers 0 to 999. One problem is 3.3 points: draw many samples.

Row of aime25.jsonl:
    {"id": "aime25-0", "question": "Find the sum of all integer bases  \$b>9\$  for which  \$17_b\$  is a
    divisor of
     \$97_b.\$", "answer": "70", "source": "AIME 2025"}
"""

from __future__ import annotations

from pathlib import Path

from dipo_eval.suites.base import Item, Suite
from dipo_eval.suites.data_file import DataFile, Record
from dipo_eval.suites.hub import HubData
from dipo_eval.suites.math_file import grade_item, load_math_file


def _row(row: Record, number: int) -> Record:
    return {"id": f"aime25-{number - 1}", "question": row["problem"], "answer": str(row["answer"])}


DATA = DataFile(
    "aime25.jsonl",
    "35356a1d42ea37800ac3b86283bf9842f6185876d6bb6996dbd0d7456f8e326e",
    HubData("math-ai/aime25", "test", _row, 30),
)


def _load(data_dir: Path | None, limit: int | None, seed: int) -> list[Item]:
    return load_math_file(data_dir, DATA, limit, seed)


SUITE = Suite(
    name="aime25",
    source="AIME I and II 2025",
    license="problem text (c) Mathematical Association of America",
    metric="avg@k, maj@k, pass@k",
    load=_load,
    grade=grade_item,
    data=DATA,
)
