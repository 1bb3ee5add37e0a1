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
The category is the item's kind: accuracy is also reported by category, and a stored sample is graded again by its id and
kind. Memory, web search and format sensitivity are not run; ``overall`` reports what BFCL's two overall formulas lack.
Modules: ``items`` (prompts and grades), ``dialogue`` (the multi-turn categories), ``overall`` (the two formulas).
"""

from __future__ import annotations

from dipo_eval.suites.bfcl.items import suite

SUITE = suite("bfcl", "prompt form", native=False)
