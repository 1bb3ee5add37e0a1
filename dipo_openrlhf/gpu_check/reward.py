"""The reward of a check: it makes groups of every sort, whatever the model can do.

A 135M model is right so seldom that a window may hold no correct answer, hence no gradient to compare. Here a prompt's
label says what its group is to be: "wrong", "correct", or "mixed", where a hash of the response decides.
"""

from __future__ import annotations

import hashlib
import logging
from typing import Any

from dipo_eval.grading.verdict import Verdict
from dipo_openrlhf.rewards.responses import Scored, score_all

LABELS = ("mixed", "mixed", "wrong", "mixed", "correct", "mixed", "mixed", "wrong")
"""Of a step's prompts, in turn: more mixed ones than a half, so that each of two windows has some."""
logger = logging.getLogger(__name__)
_FAILED = Scored(Verdict("wrong", "the reward failed"))


def reward_func(queries: list[str], prompts: list[str], labels: list[Any], **unused: Any) -> dict[str, Any]:
    """Score responses 1.0 or 0.0; see dipo_openrlhf/rewards/responses.py, score_all."""
    return score_all(_score, queries, prompts, labels, _FAILED, logger)


def _score(response: str, label: Any) -> Scored:
    odd = hashlib.sha256(response.encode("utf-8", "surrogatepass")).digest()[0] % 2 == 1
    correct = label == "correct" or (label == "mixed" and odd)
    return Scored(Verdict("correct" if correct else "wrong", ""))
