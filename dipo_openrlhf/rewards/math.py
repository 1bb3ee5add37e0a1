"""The math reward that OpenRLHF loads by path: ``--reward.remote_url .../dipo_openrlhf/rewards/math.py``.

OpenRLHF 0.11.2 calls ``reward_func`` in a thread with one sample (openrlhf/utils/agent.py:308). A reward
function that raises there is logged at INFO and its reward becomes None, which breaks the batch: this one
never raises. The verdict is ``dipo_eval.grading.grade_math``'s, the same as in evaluation.
"""

from __future__ import annotations

import json
import logging
import re
from typing import Any

from dipo_eval.grading.math import grade_math
from dipo_eval.grading.verdict import Verdict

logger = logging.getLogger(__name__)

_SPECIAL_TOKENS = re.compile(
    r"(?:\s{0,8}(?:<\|[^|<>\s]{1,40}\|>|<\uff5c[^\uff5c<>\s]{1,40}\uff5c>|</?s>|<eos>|<pad>|<unk>|<end_of_turn>|\[PAD\]|\[EOS\]))+"
    r"\s{0,8}\Z"
)
_TOKENS_WINDOW = 4000
_MIN_OVERLAP = 8
_FIRST_TOKEN_CHARS = 64


def reward_func(queries: list[str], prompts: list[str], labels: list[Any], **unused: Any) -> dict[str, Any]:
    """Score responses: 1.0 where the final answer is correct, else 0.0.

    ``queries``: prompt and response decoded with special tokens. ``labels``: the gold answer, or a JSON list
    of answers that are all required. Returns ``rewards``, ``scores`` and ``extra_logs``
    (``verifier/undecided``, ``verifier/timeout``, ``verifier/error``, ``verifier/no_answer``: 0 or 1, so that
    a mean is a rate); floats for one sample, lists for several. Never raises: what goes wrong scores 0 and
    counts in ``verifier/error``.
    """
    try:
        rows = [
            _score(query, prompt, label)
            for query, prompt, label in zip(queries, prompts, labels, strict=True)
        ]
    except Exception as error:  # malformed arguments: there is still a batch to keep alive
        logger.warning("math reward: %s: %s; scored 0", type(error).__name__, error)
        rows = [_row(0.0, error=True)]
    if len(rows) == 1:
        row = rows[0]
        return {"rewards": row["score"], "scores": row["score"], "extra_logs": row["logs"]}
    scores = [row["score"] for row in rows]
    names = rows[0]["logs"] if rows else {}
    return {
        "rewards": scores,
        "scores": list(scores),
        "extra_logs": {name: [row["logs"][name] for row in rows] for name in names},
    }


def _score(query: str, prompt: str, label: Any) -> dict[str, Any]:
    try:
        verdict = grade_math(response_of(query, prompt), gold_of(label))
    except Exception as error:
        logger.warning("math reward: %s: %s; scored 0", type(error).__name__, str(error)[:200])
        return _row(0.0, error=True)
    return _row(verdict.score, verdict=verdict)


def _row(score: float, *, verdict: Verdict | None = None, error: bool = False) -> dict[str, Any]:
    undecided = verdict is not None and verdict.status == "undecided"
    logs = {
        "verifier/undecided": float(undecided),
        "verifier/timeout": float(undecided and verdict is not None and verdict.reason == "time limit"),
        "verifier/no_answer": float(verdict is not None and verdict.extracted is None),
        "verifier/error": float(error),
    }
    return {"score": score, "logs": logs}


def gold_of(label: Any) -> str | list[str]:
    """The gold answer in a label: a string, a number, a list, or a JSON list as text. Raises ValueError
    otherwise.
    """
    if isinstance(label, str) and label.strip().startswith("["):
        try:
            label = json.loads(label)
        except ValueError:
            return label  # an interval such as [1, 2)
        if not (isinstance(label, list) and label and all(isinstance(one, str) for one in label)):
            return json.dumps(
                label
            )  # [1, 2] is an interval or a pair; only a list of strings is a list of answers
    if isinstance(label, bool) or label is None or label == "" or label == []:
        raise ValueError(f"math reward: label {label!r} holds no gold answer; check --data.label_key")
    if isinstance(label, (list, tuple)):
        return [str(one) for one in label]
    return str(label)


def response_of(query: str, prompt: str) -> str:
    """``query`` without its prompt and without special tokens at its end.

    A prompt that was cut on the left (OpenRLHF keeps its last tokens) is found as the longest suffix of
    ``prompt`` that ``query`` starts with. Raises ValueError where no part of the prompt is found.
    """
    return _without_special_tokens(query[_prompt_end(query, prompt) :])


def _prompt_end(query: str, prompt: str) -> int:
    if not prompt or query.startswith(prompt):
        return len(prompt)
    at = query.find(prompt, 0, len(prompt) + _FIRST_TOKEN_CHARS)  # a beginning-of-text token before it
    if at >= 0:
        return at + len(prompt)
    start = len(query) - len(query.lstrip("\ufffd"))  # half a character, where the cut went through one
    overlap = _overlap(query[start:], prompt)
    if overlap:
        return start + overlap
    for length in (200, 60, 20):  # decoding changed the prompt's beginning: its end is enough
        tail = prompt[-length:]
        at = query.find(tail)
        if at >= 0 and len(tail) >= _MIN_OVERLAP:
            return at + len(tail)
    raise ValueError("math reward: the query does not contain its prompt; is the tokenizer's decoding lossy?")


def _overlap(query: str, prompt: str) -> int:
    """Length of the longest suffix of ``prompt`` that ``query`` starts with; 0 below ``_MIN_OVERLAP``
    characters.
    """
    head = query[:_MIN_OVERLAP]
    at = prompt.find(head)
    while at >= 0 and len(prompt) - at >= _MIN_OVERLAP:
        if query.startswith(prompt[at:]):
            return len(prompt) - at
        at = prompt.find(head, at + 1)
    return 0


def _without_special_tokens(response: str) -> str:
    window = response[-_TOKENS_WINDOW:]
    match = _SPECIAL_TOKENS.search(window)
    return response[: len(response) - len(window) + match.start()] if match else response
