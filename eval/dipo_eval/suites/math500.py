r"""MATH-500: 500 competition problems in LaTeX (Hendrycks et al. 2021, arXiv 2103.03874).

Row of math500.jsonl:
    {"id": "test/intermediate_algebra/1994.json", "question": "Define\n\\[p = \\sum_{k = 1}^\\infty ...",
     "answer": "p - q", "subject": "Intermediate Algebra", "level": 5, "source": "MATH-500"}
The subject is the kind: accuracy is also reported for each subject.
"""

from __future__ import annotations

from dipo_eval.suites.data_file import DataFile, Record
from dipo_eval.suites.hub import HubData
from dipo_eval.suites.math_file import math_suite, meta_of


def _row(row: Record, number: int) -> Record:
    return {**row, "id": row["unique_id"], "question": row["problem"]}


SUITE = math_suite(
    name="math500",
    source="MATH (Hendrycks et al.), the 500 problems of PRM800K's test split",
    license="MIT",
    metric="accuracy, avg@k",
    data=DataFile(
        "math500.jsonl",
        "0215c3b1b0a86b06f442f3a66e25f032b1e82705c0448f294dd6c044f6d231f6",
        HubData("HuggingFaceH4/MATH-500", "test", _row, 500),
    ),
    meta=lambda record: meta_of(record, "subject", "level"),
)
