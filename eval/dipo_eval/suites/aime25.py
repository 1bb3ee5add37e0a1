r"""AIME 2025: 30 problems, integer answers 0 to 999. One problem is 3.3 points: draw many samples.

Row of aime25.jsonl:
    {"id": "aime25-0", "question": "Find the sum of all integer bases  \$b>9\$  for which  \$17_b\$  is a
    divisor of
     \$97_b.\$", "answer": "70", "source": "AIME 2025"}
"""

from __future__ import annotations

from dipo_eval.suites.data_file import DataFile
from dipo_eval.suites.hub import HubData, numbered
from dipo_eval.suites.math_file import math_suite

SUITE = math_suite(
    name="aime25",
    source="AIME I and II 2025",
    license="problem text (c) Mathematical Association of America",
    metric="avg@k, maj@k, pass@k",
    data=DataFile(
        "aime25.jsonl",
        "35356a1d42ea37800ac3b86283bf9842f6185876d6bb6996dbd0d7456f8e326e",
        HubData("math-ai/aime25", "test", numbered("aime25", "problem"), 30),
    ),
)
