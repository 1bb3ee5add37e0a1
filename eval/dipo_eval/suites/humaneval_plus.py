r"""HumanEval+: 164 functions to complete from signature and docstring (Chen et al. 2021; Liu et al. 2023, EvalPlus).

Row of HumanEvalPlus-v0.1.10.jsonl.gz:
    {"task_id": "HumanEval/0", "prompt": "from typing import List\n\n\ndef has_close_elements(...", "entry_point":
     "has_close_elements", "canonical_solution": ..., "base_input": [...], "plus_input": [...], "atol": 0}
"""

from __future__ import annotations

from dipo_eval.suites.code_file import code_suite

SUITE = code_suite("humaneval+", "humaneval", "evalplus/humanevalplus_release v0.1.10")
