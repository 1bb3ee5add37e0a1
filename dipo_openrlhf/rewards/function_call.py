"""The function-call reward that OpenRLHF loads by path: ``--reward.remote_url .../rewards/function_call.py``.

A label is a JSON object, as a string or decoded:

    {"gold": [{"name": "f", "parameters": {"x": 1}}], "has_response": false}       ToolRL, Seal-Tools
    {"gold": [{"f": {"x": [1, 2]}}], "functions": [...], "category": "parallel"}    BFCL's possible answers

Without ``category`` the response has ToolRL's tags ``<think>``, ``<tool_call>`` and ``<response>`` and is graded as
ToolRL does (``toolrl``). With it, the verdict is ``dipo_eval.grading.grade_calls``'s in strict mode, the same as in
evaluation, and R_format is 1 where the response has calls that can be read. Where no call is wanted, only an answer that
tells the user something is paid (``abstention``).
"""

from __future__ import annotations

import json
import logging
from typing import Any

from dipo_eval.errors import short_repr
from dipo_eval.grading.calls.chosen_form import ANY, AUTO
from dipo_eval.grading.calls.grade import Language, calls_of, check_call_gold, grade_calls, language_of
from dipo_eval.grading.calls.strict import argument_refusal
from dipo_eval.grading.calls.unread import Unread, UnreadableError
from dipo_eval.grading.calls.why_unread import unknown_function, why_unread
from dipo_eval.grading.verdict import Verdict
from dipo_openrlhf.rewards import toolrl
from dipo_openrlhf.rewards.abstention import not_paid
from dipo_openrlhf.rewards.call_form import named_form, unread_logs
from dipo_openrlhf.rewards.responses import Scored, response_of, score_all

__all__ = ["label_of", "response_of", "reward_func"]

logger = logging.getLogger(__name__)
TOOLRL_FORM = "hermes"
"""Of ToolRL's tags, which its prompt demands."""


def reward_func(queries: list[str], prompts: list[str], labels: list[Any], **unused: Any) -> dict[str, Any]:
    """Reward responses with R_format + R_correct in [-3, 4], and score 1.0 only full correctness.

    ``scores`` are 1.0 where the format and all calls are correct and there is no other call, else 0.0; undecided answers
    score 0 and get the minimal reward. ``extra_logs`` besides those of ``responses.score_all``: ``reward_max``, the
    maximum score, so that ``dipo.correct_from: reward_max`` finds the correct ones (as ``score`` does),
    ``reward/format`` and ``reward/correct``. Never raises: a bad label is rewarded with 0 and counts in
    ``verifier/error``. ``calls/unread/*`` is 1 for the reason why no call could be read (dipo_eval's ``Unread``).
    """
    return score_all(_score, queries, prompts, labels, _FAILED, logger)


def label_of(label: Any) -> dict[str, Any]:
    """A label as a dict with a list ``gold``. Raises ValueError otherwise."""
    found = json.loads(label) if isinstance(label, str) else label
    if not isinstance(found, dict) or not isinstance(found.get("gold"), list):
        raise ValueError(
            f"label {short_repr(label)} is not an object with a list `gold`; check --data.label_key"
        )
    return found


def _score(response: str, label: Any) -> Scored:
    found = label_of(label)
    if found.get("category"):
        return _by_category(response, found)
    return _by_tags(response, found)


def _by_tags(response: str, label: dict[str, Any]) -> Scored:
    gold = toolrl.plain_gold(label["gold"])
    has_response = bool(label.get("has_response", not gold))
    format_score = toolrl.format_score(response, has_calls=bool(gold), has_response=has_response)
    calls: list[tuple[str, dict[str, Any]]] | None = None
    why = None
    try:
        calls = toolrl.tagged_calls(response)
        correct_score = toolrl.correct_score(calls, gold)
    except UnreadableError as error:
        correct_score = -toolrl.CORRECT_MAX if gold else 0.0
        why = error.why if "<tool_call>" in response else why_unread(response, set(), TOOLRL_FORM)
    if gold:
        correct = correct_score >= toolrl.CORRECT_MAX - 1e-9
        reason = "calls" if correct else "other calls"
    else:
        refused = not_paid(response, set())
        correct, reason = refused is None, refused or "no call"
        format_score = format_score if correct else 0.0
    if correct and not format_score:
        correct, reason = False, "format"
    shown = None if gold and calls is None else response.strip()[-300:]
    verdict = Verdict("correct" if correct else "wrong", reason, shown)
    return _scored(verdict, format_score, correct_score, why)


def _by_category(response: str, label: dict[str, Any]) -> Scored:
    category, gold, functions = label["category"], label["gold"], label.get("functions", [])
    check_call_gold(gold, functions, category)
    # A row's prompt teaches its form, which the model's template does not tell: `auto` reads any.
    form = ANY if named_form() == AUTO else named_form()
    verdict = grade_calls(response, gold, functions, category=category, form=form)
    calls = calls_of(response, category, form)
    names = {name for one in functions for name in (one["name"], one["name"].replace(".", "_"))}
    if not calls:
        why = why_unread(response, names, form)
    else:
        why = unknown_function((next(iter(call)) for call in calls), names)
    if not calls and verdict.status == "correct":  # no call was wanted
        refused = not_paid(response, names)
        if refused:
            return _scored(Verdict("wrong", refused, None), 0.0, -toolrl.CORRECT_MAX, why)
    format_score = toolrl.FORMAT_MAX if calls or verdict.status == "correct" else 0.0
    correct_score = -toolrl.CORRECT_MAX
    if verdict.status == "correct":
        correct_score = toolrl.CORRECT_MAX
    elif calls and gold and verdict.status == "wrong":
        given = [next(iter(call.items())) for call in calls]
        wanted = _wanted(gold, functions, given, language_of(category))
        # The full score follows from the verdict alone: here less. Calls beyond the gold's number cost and earn nothing:
        # else one that lists all values it can think of beats one that chooses.
        scores = (toolrl.correct_score(made, wanted) for made in (given, given[: len(gold)]))
        correct_score = min(toolrl.CORRECT_MAX - 0.5, *scores)
    return _scored(verdict, format_score, correct_score, why)


def _wanted(
    gold: list[dict[str, Any]], functions: list[dict[str, Any]], given: list[tuple[str, dict[str, Any]]],
    language: Language,
) -> list[toolrl.Wanted]:  # fmt: skip
    """BFCL's possible answers as gold calls: an optional argument counts where it was given."""
    schemas = {one["name"]: (one.get("parameters") or {}).get("properties") or {} for one in functions}
    used = {name: set(arguments) for name, arguments in given}
    made = []
    for call in gold:
        ((name, allowed),) = call.items()
        names = tuple(key for key in allowed if "" not in allowed[key] or key in used.get(name, ()))

        def accepts(key: str, value: Any, name: str = name, allowed: dict[str, Any] = allowed) -> bool:
            schema = schemas.get(name, {}).get(key, {})
            return argument_refusal(value, allowed[key], schema, language) is None

        made.append(toolrl.Wanted(name, names, accepts))
    return made


def _scored(verdict: Verdict, format_score: float, correct_score: float, why: Unread | None = None) -> Scored:
    logs = {"reward_max": 1.0, "reward/format": format_score, "reward/correct": correct_score}
    logs |= unread_logs(why)
    return Scored(verdict, reward=format_score + correct_score, logs=logs)


_FAILED = _scored(Verdict("wrong", "the reward failed"), 0.0, 0.0)
