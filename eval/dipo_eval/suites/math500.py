r"""MATH-500: 500 competition problems in LaTeX (Hendrycks et al. 2021, arXiv 2103.03874).

Row of math500.jsonl:
    {"id": "test/intermediate_algebra/1994.json", "question": "Define\n\\[p = \\sum_{k = 1}^\\infty ...",
     "answer": "p - q", "subject": "Intermediate Algebra", "level": 5, "source": "MATH-500"}
The subject becomes the kind, so accuracy is also reported a subject.
"""

from __future__ import annotations

from pathlib import Path

from dipo_eval.suites.base import Item, Suite
from dipo_eval.suites.math_file import Record, grade_item, load_math_file


def _kind(record: Record) -> Record:
    return {"kind": record["subject"]} if record.get("subject") else {}


def _load(data_dir: Path | None, limit: int | None, seed: int) -> list[Item]:
    return load_math_file(data_dir, "math500.jsonl", limit, seed, meta_keys=("level",), extra_meta=_kind)


SUITE = Suite(
    name="math500",
    source="MATH (Hendrycks et al.), the 500 problems of PRM800K's test split",
    licence="MIT",
    metric="accuracy, avg@k",
    load=_load,
    grade=grade_item,
)
