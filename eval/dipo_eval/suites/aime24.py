"""AIME 2024: 30 problems with answers from 0 to 999. One problem is 3.3 points: draw many samples."""

from __future__ import annotations

from dipo_eval.suites.competitions import competition
from dipo_eval.suites.hub import HubData, numbered

SUITE = competition(
    "aime24",
    "AIME I and II 2024",
    "avg@k, maj@k, pass@k",
    "ce0563da4262492a7ef5d4e966c9b24df654b2f4e983ea0964449c2cfef3de0f",
    HubData("HuggingFaceH4/aime_2024", "train", numbered("aime24", "problem"), 30),
)
