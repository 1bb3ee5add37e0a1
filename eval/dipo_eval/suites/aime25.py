r"""AIME 2025: 30 problems, integer answers 0 to 999. One problem is 3.3 points: draw many samples.

Row of aime25.jsonl:
    {"id": "aime25-0", "question": "Find the sum of all integer bases  \$b>9\$  for which  \$17_b\$  is a
    divisor of
     \$97_b.\$", "answer": "70", "source": "AIME 2025"}
"""

from __future__ import annotations

from pathlib import Path

from dipo_eval.suites.base import Item, Suite
from dipo_eval.suites.math_file import grade_item, load_math_file


def _load(data_dir: Path | None, limit: int | None, seed: int) -> list[Item]:
    return load_math_file(data_dir, "aime25.jsonl", limit, seed)


SUITE = Suite(
    name="aime25",
    source="AIME I and II 2025",
    licence="problem text (c) Mathematical Association of America",
    metric="avg@k, maj@k, pass@k",
    load=_load,
    grade=grade_item,
)
