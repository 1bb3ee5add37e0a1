"""BFCL with native tool calls: the items of the suite ``bfcl`` without its system prompt, the functions as tools.

bfcl-eval's convert_to_tool makes the tools, for OpenAI's chat completions, and names ``a.b`` ``a_b``. The model answers
in its own form; the grader reads ``<tool_call>`` blocks, JSON and Python lists. A model whose chat template takes no
tools is refused before it is loaded.
"""

from __future__ import annotations

from dipo_eval.suites.bfcl.items import suite

SUITE = suite("bfcl-native", "native tool calls", native=True)
