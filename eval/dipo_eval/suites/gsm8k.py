r"""GSM8K: 1,319 grade-school word problems with integer answers (Cobbe et al. 2021, arXiv 2110.14168).

Row of gsm8k_test.jsonl:
    {"id": "gsm8k-test-1", "question": "A robe takes 2 bolts of blue fiber and half that much white fiber.
    How many
     bolts in total does it take?", "answer": "3", "solution": "It takes ...\n#### 3", "source":
     "openai/grade-school-math"}
"""

from __future__ import annotations

from pathlib import Path

from dipo_eval.suites.base import Item, Suite
from dipo_eval.suites.math_file import grade_item, load_math_file


def _load(data_dir: Path | None, limit: int | None, seed: int) -> list[Item]:
    return load_math_file(data_dir, "gsm8k_test.jsonl", limit, seed)


SUITE = Suite(
    name="gsm8k",
    source="https://github.com/openai/grade-school-math (test split)",
    licence="MIT",
    metric="accuracy, avg@k",
    load=_load,
    grade=grade_item,
)
