"""BFCL with native tool calls: the items of the suite ``bfcl`` without its system prompt, the functions as tools.

The functions are converted by bfcl-eval's own convert_to_tool for OpenAI's chat completions, which names ``a.b``
``a_b``. The model answers in its own form; the grader reads ``<tool_call>`` blocks, JSON and Python lists. A model
whose chat template takes no tools is refused before it is loaded.
"""

from __future__ import annotations

from dipo_eval.suites.base import Suite
from dipo_eval.suites.bfcl.items import SUITE_METRIC, as_conversation, grade, load, overall, source

SUITE = Suite(
    name="bfcl-native",
    source=source("native tool calls"),
    license="Apache-2.0",
    metric=SUITE_METRIC,
    load=lambda data_dir, limit, seed: load(limit, seed, native=True),
    grade=grade,
    overall=overall,
    converse=as_conversation,
)
