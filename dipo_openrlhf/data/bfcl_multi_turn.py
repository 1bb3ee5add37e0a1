"""BFCL's multi-turn cases for training with tools (environments/bfcl.py), without the held-out scenarios.

Which those are, the suite bfcl-heldout decides (dipo_eval/suites/bfcl/heldout.py). A row's label is the case itself with
its gold, as environments/bfcl.py reads it; its question, the first turn's message, is shown by the environment.
"""

from __future__ import annotations

import json
import random
from typing import Any

from dipo_eval.grading.calls import bfcl
from dipo_eval.grading.calls.bfcl import MULTI_TURN
from dipo_eval.suites.bfcl.heldout import is_held_out
from dipo_openrlhf.data.base import Dataset, Prompt


def _prompt(case: dict[str, Any]) -> Prompt:
    turns = [[message["content"] for message in turn] for turn in case["question"]]
    first = "\n".join(turns[0])
    label = json.dumps({"environment": "bfcl", **case})
    return Prompt(case["id"], first, label, tuple(text for turn in turns for text in turn))


def _prompts(count: int, seed: int) -> list[Prompt]:
    """All cases that may be trained on, or `count` of them, in an order that the seed fixes."""
    cases = [row for category in MULTI_TURN for row in bfcl.items(category) if not is_held_out(row["id"])]
    random.Random(f"bfcl multi-turn:{seed}").shuffle(cases)
    return [_prompt(case) for case in cases[:count]]


DATASET = Dataset(
    name="bfcl_multi_turn",
    source=f"bfcl-eval {bfcl.VERSION}, multi-turn, without the scenarios of the suite bfcl-heldout",
    license="Apache-2.0",
    reward="tool_agent",
    rows="652",
    fields="none: it is read from the package bfcl-eval",
    template="plain",
    make=_prompts,
    part_of=("bfcl", "bfcl-native"),
)
