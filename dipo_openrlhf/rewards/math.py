"""The math reward that OpenRLHF loads by path: ``--reward.remote_url .../dipo_openrlhf/rewards/math.py``.

OpenRLHF 0.11.2 calls ``reward_func`` in a thread with one sample and logs at INFO what it raises; the reward becomes
None, which breaks the batch (openrlhf/utils/agent.py, SingleTurnAgentExecutor.execute): this one never raises. The
verdict is ``dipo_eval.grading.grade_math``'s, the same as in evaluation.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from dipo_eval.grading.math.grade import grade_math
from dipo_eval.grading.verdict import Verdict
from dipo_openrlhf.rewards.responses import Scored, response_of, score_all

__all__ = ["gold_of", "response_of", "reward_func"]

logger = logging.getLogger(__name__)
_FAILED = Scored(Verdict("wrong", "the reward failed"))


def reward_func(queries: list[str], prompts: list[str], labels: list[Any], **unused: Any) -> dict[str, Any]:
    """Score responses: 1.0 where the final answer is correct, else 0.0.

    ``queries``: prompt and response decoded with special tokens. ``labels``: the gold answer, or a JSON list of answers
    that are all required. Returns what ``responses.score_all`` describes. Never raises: errors score 0 and count in
    ``verifier/error``.
    """
    return score_all(_score, queries, prompts, labels, _FAILED, logger)


def _score(response: str, label: Any) -> Scored:
    return Scored(grade_math(response, gold_of(label)))


def gold_of(label: Any) -> str | list[str]:
    """The gold answer in a label: a string, a number, a list, or a JSON list. Raises ValueError otherwise."""
    if isinstance(label, str) and label.strip().startswith("["):
        try:
            label = json.loads(label)
        except (ValueError, RecursionError):
            return label  # an interval such as [1, 2)
        # [1, 2] is an interval or a pair; only a list of strings is a list of answers
        if not (isinstance(label, list) and label and all(isinstance(one, str) for one in label)):
            return json.dumps(label)
    if isinstance(label, bool) or label is None or label == "" or label == []:
        raise ValueError(f"math reward: label {label!r} holds no gold answer; check --data.label_key")
    if isinstance(label, (list, tuple)):
        return [str(one) for one in label]
    return str(label)
