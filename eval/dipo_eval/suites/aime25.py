"""AIME 2025: 30 problems with answers from 0 to 999. One problem is 3.3 points: draw many samples."""

from __future__ import annotations

from dipo_eval.suites.competitions import competition
from dipo_eval.suites.hub import HubData, numbered

SUITE = competition(
    "aime25",
    "AIME I and II 2025",
    "avg@k, maj@k, pass@k",
    "35356a1d42ea37800ac3b86283bf9842f6185876d6bb6996dbd0d7456f8e326e",
    HubData("math-ai/aime25", "test", numbered("aime25", "problem"), 30),
)
