r"""Code with EvalPlus's own files and tests: what the suites of HumanEval+ and MBPP+ share.

Chen et al. 2021; Austin et al. 2021; Liu et al. 2023. Row of HumanEvalPlus-v0.1.10.jsonl.gz (MbppPlus: alike):
    {"task_id": "HumanEval/0", "prompt": "from typing import List\n\n\ndef has_close_elements(...", "entry_point":
     "has_close_elements", "canonical_solution": ..., "base_input": [...], "plus_input": [...], "atol": 0}
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from dipo_eval.grading.code.environment import data_path, evalplus_python
from dipo_eval.grading.code.extract import extract_code
from dipo_eval.grading.code.grade import grade_code
from dipo_eval.grading.verdict import Verdict
from dipo_eval.suites.base import Item, Suite, take

# evalplus 0.3.1's instruction for chat models (evalplus/codegen.py), without the beginning of the response.
INSTRUCTION = "Please provide a self-contained Python script that solves the following problem in a markdown code block:"


def load(dataset: str, data_dir: Path | None, limit: int | None, seed: int) -> list[Item]:
    """Items of a data set. Raises UserError where its file or evalplus's environment is missing or differs."""
    evalplus_python()
    items = []
    for line in data_path(dataset, data_dir).read_text(encoding="utf-8").rstrip("\n").split("\n"):
        problem = json.loads(line)
        message = f"{INSTRUCTION}\n```\n{problem['prompt'].strip()}\n```\n"
        meta = {"entry_point": problem["entry_point"], "code_prompt": problem["prompt"]}
        items.append(
            Item(problem["task_id"], [{"role": "user", "content": message}], problem["task_id"], meta)
        )
    return take(items, limit, seed)


def grade(response: str, item: Item) -> Verdict:
    """The verdict on base and plus tests together; a failed base test is named in the reason."""
    code = extract_code(response, item.meta["entry_point"], item.meta["code_prompt"])
    return grade_code(item.id, code).plus


def code_suite(name: str, dataset: str, source: str) -> Suite:
    """The suite of one of evalplus's data sets."""
    return Suite(name, source, "Apache-2.0", "pass@k of base and plus tests", partial(load, dataset), grade)
