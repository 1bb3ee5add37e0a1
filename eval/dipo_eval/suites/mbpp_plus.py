r"""MBPP+: 378 functions to write from one sentence and a test (Austin et al. 2021; Liu et al. 2023, EvalPlus).

Row of MbppPlus-v0.2.0.jsonl.gz:
    {"task_id": "Mbpp/2", "prompt": "\"\"\"\nWrite a function to find the shared elements from ...", "entry_point":
     "similar_elements", "canonical_solution": ..., "base_input": [...], "plus_input": [...], "atol": 0}
"""

from __future__ import annotations

from dipo_eval.suites.code_file import code_suite

SUITE = code_suite("mbpp+", "mbpp", "evalplus/mbppplus_release v0.2.0")
