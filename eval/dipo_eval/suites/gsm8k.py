r"""GSM8K: 1,319 grade-school word problems with integer answers (Cobbe et al. 2021, arXiv 2110.14168).

Row of gsm8k_test.jsonl:
    {"id": "gsm8k-test-1", "question": "A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts
     in total does it take?", "answer": "3", "solution": "It takes ...\n#### 3", "source": "openai/grade-school-math"}
"""

from __future__ import annotations

from dipo_eval.suites.data_file import DataFile, Record
from dipo_eval.suites.hub import HubData, final_answer, numbered
from dipo_eval.suites.math_file import math_suite


def _answer(row: Record) -> str:
    return final_answer(row["answer"])


DATA = DataFile(
    "gsm8k_test.jsonl",
    "2c80e249693ecb34f1b96b61e377ce5743effff3448c3580c7706dd40f8d1e64",
    HubData("openai/gsm8k", "test", numbered("gsm8k-test", answer=_answer), 1319, "main"),
)

SUITE = math_suite(
    name="gsm8k",
    source="https://github.com/openai/grade-school-math (test split)",
    license="MIT",
    metric="accuracy, avg@k",
    data=DATA,
)
