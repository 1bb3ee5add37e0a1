"""AIME 2024: 30 problems, integer answers 0 to 999. One problem is 3.3 points: draw many samples.

Row of aime24.jsonl:
    {"id": "aime24-0", "question": "Among the 900 residents of Aimeville, there are 195 who own a diamond
    ring, ...",
     "answer": "73", "source": "AIME 2024"}
"""

from __future__ import annotations

from pathlib import Path

from dipo_eval.suites.base import Item, Suite
from dipo_eval.suites.data_file import DataFile, Record
from dipo_eval.suites.hub import HubData
from dipo_eval.suites.math_file import grade_item, load_math_file


def _row(row: Record, number: int) -> Record:
    return {"id": f"aime24-{number - 1}", "question": row["problem"], "answer": str(row["answer"])}


DATA = DataFile(
    "aime24.jsonl",
    "ce0563da4262492a7ef5d4e966c9b24df654b2f4e983ea0964449c2cfef3de0f",
    HubData("HuggingFaceH4/aime_2024", "train", _row, 30),
)


def _load(data_dir: Path | None, limit: int | None, seed: int) -> list[Item]:
    return load_math_file(data_dir, DATA, limit, seed)


SUITE = Suite(
    name="aime24",
    source="AIME I and II 2024",
    license="problem text (c) Mathematical Association of America",
    metric="avg@k, maj@k, pass@k",
    load=_load,
    grade=grade_item,
    data=DATA,
)
