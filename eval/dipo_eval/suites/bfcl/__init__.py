r"""BFCL in its own prompt form (Patil et al., ICML 2025): 3,641 single-turn items and 800 conversations.

Row of BFCL_v4_simple_python.json in the package bfcl-eval, and its line in possible_answer/:
    {"id": "simple_python_0", "question": [[{"role": "user", "content": "Find the area of a triangle with a base
    of 10 units and height of 5 units."}]], "function": [{"name": "calculate_triangle_area", ...}]}
    {"id": "simple_python_0", "ground_truth": [{"calculate_triangle_area": {"base": [10], "height": [5], "unit":
    ["units", ""]}}]}
Row of BFCL_v4_multi_turn_base.json (shortened), and its line:
    {"id": "multi_turn_base_0", "question": [[{"role": "user", "content": "Move 'final_report.pdf' ..."}], ...],
    "initial_config": {"GorillaFileSystem": {...}}, "involved_classes": ["TwitterAPI", "GorillaFileSystem"]}
    {"id": "multi_turn_base_0", "ground_truth": [["cd(folder='document')", "mkdir(dir_name='temp')", ...], ...]}
The category is the item's kind, so accuracy is also reported a category, and a stored sample can be graded again
by its id and kind: functions and environments are looked up. Memory, web search and format sensitivity are not run;
``overall`` says what is missing from BFCL's two overall formulas.
"""

from __future__ import annotations

from dipo_eval.suites.base import Suite
from dipo_eval.suites.bfcl.items import SUITE_METRIC, as_conversation, grade, load, overall, source

SUITE = Suite(
    name="bfcl",
    source=source("prompt form"),
    license="Apache-2.0",
    metric=SUITE_METRIC,
    load=lambda data_dir, limit, seed: load(limit, seed, native=False),
    grade=grade,
    overall=overall,
    converse=as_conversation,
)
