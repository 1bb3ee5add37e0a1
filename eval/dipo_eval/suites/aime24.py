"""AIME 2024: 30 problems, integer answers 0 to 999. One problem is 3.3 points: draw many samples.

Row of aime24.jsonl:
    {"id": "aime24-0", "question": "Among the 900 residents of Aimeville, there are 195 who own a diamond
    ring, ...",
     "answer": "73", "source": "AIME 2024"}
"""

from __future__ import annotations

from dipo_eval.suites.data_file import DataFile
from dipo_eval.suites.hub import HubData, numbered
from dipo_eval.suites.math_file import math_suite

SUITE = math_suite(
    name="aime24",
    source="AIME I and II 2024",
    license="problem text (c) Mathematical Association of America",
    metric="avg@k, maj@k, pass@k",
    data=DataFile(
        "aime24.jsonl",
        "ce0563da4262492a7ef5d4e966c9b24df654b2f4e983ea0964449c2cfef3de0f",
        HubData("HuggingFaceH4/aime_2024", "train", numbered("aime24", "problem"), 30),
    ),
)
