"""What the reward files share: the response in a query, and what OpenRLHF expects from a reward function."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dipo_eval import linear
from dipo_eval.errors import one_line
from dipo_eval.grading.verdict import Verdict

_SPECIAL_TOKENS = linear.compile(
    r"(?:\s{0,8}(?:<\|[^|<>\s]{1,40}\|>|<\uff5c[^\uff5c<>\s]{1,40}\uff5c>|</?s>|<eos>|<pad>|<unk>|<end_of_turn>|\[PAD\]|\[EOS\]))+"
    r"\s{0,8}\Z"
)
_CALL_END = linear.bounded(r"<[|\uff5c][^|\uff5c<>\s]{0,30}tool[^|\uff5c<>\s]{1,30}[|\uff5c]>")
"""Closes a call, of DeepSeek's and Kimi's forms: it belongs to the response."""
_TOKENS_WINDOW = 4000
_MIN_OVERLAP = 8
_FIRST_TOKEN_CHARS = 64


@dataclass(frozen=True, slots=True)
class Scored:
    """One response's verdict, its reward where that is not the verdict's score, and further values to log."""

    verdict: Verdict
    reward: float | None = None
    logs: dict[str, float] = field(default_factory=dict)


def score_all(
    score_one: Callable[[str, Any], Scored],
    queries: list[str],
    prompts: list[str],
    labels: list[Any],
    failed: Scored,
    logger: logging.Logger,
) -> dict[str, Any]:
    """What a reward function returns to OpenRLHF, from ``score_one(response, label)`` for each sample.

    ``rewards``, ``scores`` and ``extra_logs`` (``verifier/undecided``, ``verifier/timeout``, ``verifier/error``,
    ``verifier/no_answer``: 0 or 1, so that a mean is a rate); floats for one sample, lists for several. Never raises:
    an error scores as ``failed`` and counts in ``verifier/error``.
    """

    def row(query: str, prompt: str, label: Any) -> dict[str, Any]:
        try:
            return _row(score_one(response_of(query, prompt), label), error=False)
        except Exception as error:
            logger.warning("%s; scored 0", one_line(error))
            return _row(failed, error=True)

    try:
        rows = [row(*sample) for sample in zip(queries, prompts, labels, strict=True)]
    except Exception as error:  # malformed arguments: there is still a batch to keep alive
        logger.warning("%s; scored 0", one_line(error))
        rows = [_row(failed, error=True)]
    if len(rows) == 1:
        return rows[0]
    names = rows[0]["extra_logs"] if rows else {}
    return {
        "rewards": [row["rewards"] for row in rows],
        "scores": [row["scores"] for row in rows],
        "extra_logs": {name: [row["extra_logs"][name] for row in rows] for name in names},
    }


def _row(scored: Scored, *, error: bool) -> dict[str, Any]:
    verdict = scored.verdict
    undecided = verdict.status == "undecided"
    logs = {
        "verifier/undecided": float(undecided and not error),
        "verifier/timeout": float(undecided and not error and verdict.reason == "time limit"),
        "verifier/no_answer": float(verdict.extracted is None and not error),
        "verifier/error": float(error),
    }
    reward = verdict.score if scored.reward is None else scored.reward
    return {"rewards": reward, "scores": verdict.score, "extra_logs": {**logs, **scored.logs}}


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
    raise ValueError("the query does not contain its prompt; is the tokenizer's decoding lossy?")


def _overlap(query: str, prompt: str) -> int:
    """Length of the longest suffix of ``prompt`` that ``query`` starts with; 0 below ``_MIN_OVERLAP`` characters."""
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
    if not match:
        return response
    start = max([match.start(), *(call.end() for call in _CALL_END.finditer(window))])
    return response[: len(response) - len(window) + start]
