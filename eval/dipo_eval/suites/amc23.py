"""AMC 2023: 40 problems, asked without their choices."""

from __future__ import annotations

from dipo_eval.suites.competitions import competition
from dipo_eval.suites.hub import HubData, numbered

SUITE = competition(
    "amc23",
    "AMC 12A and 12B 2023, the 40 problems of Qwen2.5-Math's evaluation",
    "avg@k",
    "6232eab6d9cc082e9ce9dcd2c1008606e0c14b4d38d49489689af4ae1e35f585",
    HubData("math-ai/amc23", "test", numbered("amc23"), 40),
)
