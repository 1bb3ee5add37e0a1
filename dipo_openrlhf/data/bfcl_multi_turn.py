"""BFCL's multi-turn cases for training with tools (environments/bfcl.py), without the held-out scenarios.

Which those are, the suite bfcl-heldout decides (dipo_eval/suites/bfcl/heldout.py). A row's label is the case itself with
its gold, as environments/bfcl.py reads it; its question, the first turn's message, is shown by the environment.

Left out as well are cases that no response can solve in the context of today's small models: their golds' results alone
fill it. A group of such a case is all incorrect whatever the model does.
"""

from __future__ import annotations

import json
import random
from typing import Any

from dipo_eval.grading.calls import bfcl
from dipo_eval.grading.calls.bfcl import MULTI_TURN
from dipo_eval.suites.bfcl.heldout import is_held_out
from dipo_openrlhf.data.base import Dataset, Prompt
from dipo_openrlhf.environments.bfcl import Bfcl

MAX_FEEDBACK_CHARS = 30_000
"""The 34 cases above it list long rows of numbers: 35,589 to 72,903 tokens of Qwen3's, with the prompt. The longest other
has 14,514."""


def _prompt(case: dict[str, Any]) -> Prompt:
    turns = [[message["content"] for message in turn] for turn in case["question"]]
    first = "\n".join(turns[0])
    label = json.dumps({"environment": "bfcl", **case})
    return Prompt(case["id"], first, label, tuple(text for turn in turns for text in turn))


def _feedback_chars(case: dict[str, Any]) -> int:
    """Characters of the gold's results and of the user's further messages."""
    environment, found = Bfcl(case), 0
    for calls in case["ground_truth"]:
        found += sum(map(len, environment.run(calls) if calls else []))
        found += sum(len(message["content"]) for message in environment.reply(""))
    return found


def _prompts(count: int, seed: int) -> list[Prompt]:
    """All cases that may be trained on, or `count` of them, in an order that the seed fixes."""
    cases = [row for category in MULTI_TURN for row in bfcl.items(category) if not is_held_out(row["id"])]
    cases = [case for case in cases if _feedback_chars(case) <= MAX_FEEDBACK_CHARS]
    random.Random(f"bfcl multi-turn:{seed}").shuffle(cases)
    return [_prompt(case) for case in cases[:count]]


DATASET = Dataset(
    name="bfcl_multi_turn",
    source=f"bfcl-eval {bfcl.VERSION}, multi-turn, without the scenarios of the suite bfcl-heldout",
    license="Apache-2.0",
    reward="tool_agent",
    rows="618",
    fields="none: it is read from the package bfcl-eval",
    template="plain",
    make=_prompts,
    part_of=("bfcl", "bfcl-native"),
)
