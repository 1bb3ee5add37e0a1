r"""OlympiadBench: text-only English competition mathematics with checkable answers (arXiv 2402.14008).

Row of olympiadbench.jsonl:
    {"id": "olympiadbench-1618", "question": "Determine all prime numbers $p$ and ...",
     "answer": ["$(1,8,19), (2,7,13), (4,5,7)$"], "answer_type": "Tuple", "is_multiple_answer": true, "unit": null,
     "error": null, "context": null, "subject": "Number Theory", "source": "..."}
`answer` is a list; `error` is an absolute tolerance ("1e-1") where the answer is a measured number;
`context` is text that precedes the question. https://github.com/OpenBMB/OlympiadBench
"""

from __future__ import annotations

import math

from dipo_eval.suites.data_file import DataFile, Record
from dipo_eval.suites.hub import HubData
from dipo_eval.suites.math_file import math_suite, meta_of


def _row(row: Record, number: int) -> Record:
    subject = row.get("subfield") or row.get("subject")
    return {**row, "id": f"olympiadbench-{row['id']}", "answer": row["final_answer"], "subject": subject}


def _meta(record: Record) -> Record:
    meta, error = meta_of(record, "subject", "answer_type", "unit"), record.get("error")
    if error is None or error == "":
        return meta
    try:
        tolerance = float(error)
    except (TypeError, ValueError):
        tolerance = math.nan
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ValueError(f"tolerance {error!r} is not a number >= 0; fix the field 'error'")
    return {**meta, "tolerance": str(error)}  # the string, since 0.1 has no exact float


SUITE = math_suite(
    name="olympiadbench",
    source="https://github.com/OpenBMB/OlympiadBench (OE_TO_maths_en_COMP)",
    license="MIT",
    metric="avg@k",
    data=DataFile(
        "olympiadbench.jsonl",
        "4e33b29c8eba70eab34f3affccaffe754df4c667c3c910b5efd88f9d89a96d14",
        HubData("Hothan/OlympiadBench", "train", _row, 674, "OE_TO_maths_en_COMP"),
    ),
    meta=_meta,
)
