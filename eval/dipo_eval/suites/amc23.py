r"""AMC 2023: 40 problems, restated so that the answer is an integer (no choices).

Row of amc23.jsonl:
    {"id": "amc23-1", "question": "Positive real numbers \$x\$ and \$y\$ satisfy \$y^3=x^2\$ and
    \$(y-x)^2=4y^2\$. What is
     \$x+y\$?", "answer": "36", "url": "https://artofproblemsolving.com/wiki/...", "source": "AMC 12A/12B
     2023 ..."}
"""

from __future__ import annotations

from dipo_eval.suites.data_file import DataFile
from dipo_eval.suites.hub import HubData, numbered
from dipo_eval.suites.math_file import math_suite

SUITE = math_suite(
    name="amc23",
    source="AMC 12A and 12B 2023, the 40 problems of Qwen2.5-Math's evaluation",
    license="problem text (c) Mathematical Association of America",
    metric="avg@k",
    data=DataFile(
        "amc23.jsonl",
        "6232eab6d9cc082e9ce9dcd2c1008606e0c14b4d38d49489689af4ae1e35f585",
        HubData("math-ai/amc23", "test", numbered("amc23"), 40),
    ),
)
