"""bfcl-eval's own decoder and checker on samples of BFCL: scores by category, and verdicts on single samples.

Its decoder evaluates parts of a response: see ``bfcl_eval_worker`` for what is done about that. Its checker of
conversations evaluates every call: those rows get ``grade_turns``' compatible verdict, which its reason names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from dipo_eval.errors import UserError, short_repr
from dipo_eval.grading.calls import bfcl
from dipo_eval.grading.calls.bfcl import MULTI_TURN, SINGLE_TURN
from dipo_eval.grading.calls.multi_turn import check_turn_gold, grade_conversation
from dipo_eval.grading.verdict import Verdict
from dipo_eval.harness import base
from dipo_eval.suites.bfcl.items import CATEGORIES, is_native
from dipo_eval.suites.bfcl.overall import overall_scores

NAME = "bfcl-eval"
_SCORE = "accuracy"


@contextmanager
def grader() -> Iterator[base.SecondGrader]:
    """bfcl-eval's verdict on a stored row, on a conversation that of our replay, which equals it.

    Raises UserError where a row is no sample of an item of BFCL.
    """
    missing = f"{NAME} cannot be imported here; install {NAME} {bfcl.VERSION} without its dependencies"
    with base.second_grader("dipo_eval.harness.bfcl_eval_worker:load", missing, _task) as grade:
        yield lambda row: _conversation(row) if row.get("kind") in MULTI_TURN else grade(row)


def _case(row: base.Row) -> dict[str, Any]:
    category = row.get("kind")
    if category not in CATEGORIES:
        raise UserError(
            f"{row['item_id']}: kind {short_repr(category)} is no category of BFCL; {NAME} cannot grade it"
        )
    return bfcl.item(category, row["item_id"])


def _task(row: base.Row) -> dict[str, Any]:
    _case(row)
    asked = {key: row[key] for key in ("response", "item_id")}
    return {**asked, "category": row["kind"], "native": is_native(row)}


def _conversation(row: base.Row) -> Verdict:
    case = _case(row)
    check_turn_gold(row["gold"], case)
    verdict = grade_conversation(row["response"], row["gold"], case, mode="compatible", native=is_native(row))
    return replace(verdict, reason=f"{verdict.reason} (grade_turns, compatible)")


def _score(suite: str, rows: Sequence[base.Row], advance: base.Advance) -> base.OfficialScore:
    """Samples of other categories than the single-turn ones are left out: their checker runs a model's calls."""
    asked = [row for row in rows if row.get("kind") in SINGLE_TURN]
    samples = []
    with grader() as grade:
        for row in asked:
            verdict = grade(row)
            undecided = verdict.reason if verdict.status == "undecided" else None
            scores, reasons = {_SCORE: verdict.score}, {_SCORE: verdict.reason}
            samples.append(base.SampleScore(row["item_id"], row.get("sample", 0), scores, reasons, undecided))
            advance(1)
    scored = [(row["kind"], one.scores[_SCORE]) for row, one in zip(asked, samples, strict=True)]
    metrics = {_SCORE: base.OfficialMetric(base.mean([score for _, score in scored]), _SCORE)}
    accuracies = {}
    for category in SINGLE_TURN:
        values = [score for kind, score in scored if kind == category]
        if values:
            accuracies[category] = base.mean(values)
            metrics[f"{_SCORE}/{category}"] = base.OfficialMetric(accuracies[category], _SCORE, category)
    for name, overall in overall_scores(accuracies).items():
        complete = overall["value"] is not None
        label = f"{name} overall" if complete else f"{name} overall, missing parts as 0"
        metrics[label] = base.OfficialMetric(overall["value"] if complete else overall["missing_as_zero"])
    method = "default_decode_ast_prompting and ast_checker"
    return base.OfficialScore(method, metrics, samples, len(rows) - len(asked))


HARNESS = base.Harness(NAME, partial(base.installed_version, NAME), lambda suite: suite == "bfcl", _score)
