r"""Competitions with integer answers: AIME 2024 and 2025 (30 problems each, 0 to 999), AMC 2023 (40, without choices).

One problem of AIME is 3.3 points: draw many samples. Row of aime24.jsonl (the others have the same fields):
    {"id": "aime24-0", "question": "Among the 900 residents of Aimeville, there are 195 who own a diamond ring, ...",
     "answer": "73", "source": "AIME 2024"}
"""

from __future__ import annotations

from dipo_eval.suites.base import Suite
from dipo_eval.suites.data_file import DataFile
from dipo_eval.suites.hub import HubData, numbered
from dipo_eval.suites.math_file import math_suite


def _competition(name: str, source: str, metric: str, sha256: str, hub: HubData) -> Suite:
    rights = "problem text (c) Mathematical Association of America"
    data = DataFile(f"{name}.jsonl", sha256, hub)
    return math_suite(name=name, source=source, license=rights, metric=metric, data=data)


SUITE = (
    _competition(
        "aime24", "AIME I and II 2024", "avg@k, maj@k, pass@k",
        "ce0563da4262492a7ef5d4e966c9b24df654b2f4e983ea0964449c2cfef3de0f",
        HubData("HuggingFaceH4/aime_2024", "train", numbered("aime24", "problem"), 30),
    ),
    _competition(
        "aime25", "AIME I and II 2025", "avg@k, maj@k, pass@k",
        "35356a1d42ea37800ac3b86283bf9842f6185876d6bb6996dbd0d7456f8e326e",
        HubData("math-ai/aime25", "test", numbered("aime25", "problem"), 30),
    ),
    _competition(
        "amc23", "AMC 12A and 12B 2023, the 40 problems of Qwen2.5-Math's evaluation", "avg@k",
        "6232eab6d9cc082e9ce9dcd2c1008606e0c14b4d38d49489689af4ae1e35f585",
        HubData("math-ai/amc23", "test", numbered("amc23"), 40),
    ),
)  # fmt: skip
