"""bfcl-eval's scores of BFCL's single-turn categories: its own decoder and checker, category by category."""

from __future__ import annotations

from collections.abc import Sequence

from dipo_eval.grading.calls.bfcl import SINGLE_TURN
from dipo_eval.harness.base import (
    Advance,
    Harness,
    OfficialMetric,
    OfficialScore,
    Row,
    SampleScore,
    installed_version,
    mean,
)
from dipo_eval.harness.second_grader import second_grader
from dipo_eval.suites.bfcl.overall import overall_scores

NAME = "bfcl-eval"
_SCORE = "accuracy"


def _version() -> str:
    return installed_version(NAME)


def _score(suite: str, rows: Sequence[Row], advance: Advance) -> OfficialScore:
    """Samples of other categories than the single-turn ones are left out: their checker runs a model's calls."""
    asked = [row for row in rows if row.get("kind") in SINGLE_TURN]
    samples = []
    with second_grader(NAME) as grade:
        for row in asked:
            verdict = grade(row)
            undecided = verdict.reason if verdict.status == "undecided" else None
            scores, reasons = {_SCORE: verdict.score}, {_SCORE: verdict.reason}
            samples.append(SampleScore(row["item_id"], row.get("sample", 0), scores, reasons, undecided))
            advance(1)
    by_category = {
        category: [
            sample.scores[_SCORE]
            for row, sample in zip(asked, samples, strict=True)
            if row["kind"] == category
        ]
        for category in SINGLE_TURN
    }
    accuracies = {category: mean(values) for category, values in by_category.items() if values}
    metrics = {_SCORE: OfficialMetric(mean([one.scores[_SCORE] for one in samples]), _SCORE)}
    for category, value in accuracies.items():
        metrics[f"{_SCORE}/{category}"] = OfficialMetric(value, _SCORE, category)
    for name, overall in overall_scores(accuracies).items():
        whole = overall["value"] is not None
        label = f"{name} overall" if whole else f"{name} overall, missing parts as 0"
        metrics[label] = OfficialMetric(overall["value"] if whole else overall["missing_as_zero"])
    method = "default_decode_ast_prompting and ast_checker"
    return OfficialScore(NAME, _version(), method, metrics, samples, len(rows) - len(asked))


HARNESS = Harness(NAME, _version, lambda suite: suite == "bfcl", _score)
