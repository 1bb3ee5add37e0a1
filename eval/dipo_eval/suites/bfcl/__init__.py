r"""BFCL (Patil et al., ICML 2025), in its own prompt form and with native tool calls: 3,641 items, 800 conversations.

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
``bfcl-native`` has no system prompt and the functions as tools, made by bfcl-eval's convert_to_tool for OpenAI's chat
completions, which names ``a.b`` ``a_b``; ``bfcl-basic`` is its four simplest categories alone. The model answers in its
own form; the grader reads ``<tool_call>`` blocks, JSON and Python lists. A model whose chat template takes no tools is
refused before it is loaded.
``bfcl-heldout`` has of the multi-turn cases those alone on which no model is trained here (heldout.py).
"""

from __future__ import annotations

from dipo_eval.suites.bfcl.items import basic_suite, heldout_suite, suite

SUITE = (
    suite("bfcl", "prompt form", native=False),
    suite("bfcl-native", "native tool calls", native=True),
    basic_suite("bfcl-basic"),
    heldout_suite(),
)
