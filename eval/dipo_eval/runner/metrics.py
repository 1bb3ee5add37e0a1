"""Metrics of one suite as pure functions of its samples: samples.jsonl proves results.json."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from dipo_eval import linear
from dipo_eval.statistics import clustered_mean, clustered_proportion, majority_at_k, pass_at_k, wilson

Row = Mapping[str, Any]
Metric = dict[str, Any]  # as in results.json, see _metric

# Integers (also with thousands separators), decimals and simple fractions; bounded, so that no vote is slow.
_PLAIN_NUMBER = linear.bounded(r"[+-]?(\d{1,3}(,\d{3}){1,6}|\d{1,30})(\.\d{1,30}|/\d{1,30})?", re.ASCII)


def metrics_from_samples(rows: Sequence[Row]) -> dict[str, Metric]:
    """All metrics of one suite, in the form of results.json.

    `accuracy` is the share of correct samples: avg@k with k samples an item. With k > 1 also
    `maj@k` and `pass@j` for j = 2, 4, 8, ... and k itself (pass@1 is the accuracy). Items with a `kind` add
    `accuracy/<kind>`. Incorrect, undecided and truncated samples stay in the denominator.

    Raises ValueError for no rows, or items with different numbers of samples.
    """
    items = _by_item(rows)
    n, k = len(items), len(next(iter(items.values())))
    metrics = {"accuracy": _accuracy(rows, k)}
    if k > 1:
        correct = [sum(map(_is_correct, samples)) for samples in items.values()]
        for j in [*(2**i for i in range(1, k.bit_length()) if 2**i < k), k]:
            metrics[f"pass@{j}"] = _metric([pass_at_k(k, count, j) for count in correct], range(n), k)
        metrics[f"maj@{k}"] = _metric(list(map(_majority, items.values())), range(n), k)
    for kind in sorted({str(row["kind"]) for row in rows if row.get("kind") is not None}):
        metrics[f"accuracy/{kind}"] = _accuracy([row for row in rows if str(row.get("kind")) == kind], k)
    return metrics


def counts_from_samples(rows: Sequence[Row]) -> dict[str, int]:
    """Samples that were correct, wrong, undecided (these add up to all), truncated, and without an answer."""
    statuses = [row["status"] for row in rows]
    return {
        **{status: statuses.count(status) for status in ("correct", "wrong", "undecided")},
        "truncated": sum(bool(row["truncated"]) for row in rows),
        "no_answer": sum(row["extracted"] is None for row in rows),
    }


def _by_item(rows: Sequence[Row]) -> dict[str, list[Row]]:
    items: dict[str, list[Row]] = {}
    for row in rows:
        items.setdefault(row["item_id"], []).append(row)
    if not items:
        raise ValueError("no samples to compute metrics from")
    sizes = {len(samples) for samples in items.values()}
    if len(sizes) > 1:
        raise ValueError(
            f"items have different numbers of samples ({sorted(sizes)}); the samples are incomplete"
        )
    return items


def _is_correct(row: Row) -> bool:
    return bool(row["status"] == "correct")


def _accuracy(rows: Sequence[Row], k: int) -> Metric:
    scores = [float(_is_correct(row)) for row in rows]
    return _metric(scores, [row["item_id"] for row in rows], k)


def _metric(values: Sequence[float], clusters: Sequence[Hashable], k: int) -> Metric:
    """The mean in [0, 1] of `values` from the items `clusters`, each with `k` samples, and its 95% interval.

    Wilson where values are single zeros and ones, else Wilson with the effective sample size (clustered). Without
    variation between items that size would be infinite and the width zero: then Wilson with items as trials.
    """
    mean, error = clustered_mean(values, clusters)
    n = len(set(clusters))
    binary = len(values) == n and all(value in (0.0, 1.0) for value in values)
    if binary or n == 1 or error <= 1e-12:
        low, high = wilson(mean * n, n)
        label = "wilson 95%"
        if binary:
            error = math.sqrt(mean * (1 - mean) / n)
    else:
        low, high = clustered_proportion(values, clusters)
        label = "clustered wilson 95%"
    return {
        "value": mean, "low": max(0.0, low), "high": min(1.0, high),
        "stderr": None if math.isnan(error) else error,  # a single problem has none
        "n": n, "k": k, "interval": label,
    }  # fmt: skip


def _majority(samples: Sequence[Row]) -> float:
    answers = [_vote(row["extracted"]) for row in samples]
    correct = {answer for answer, row in zip(answers, samples, strict=True) if _is_correct(row)}
    return majority_at_k(answers, correct - {None})


def _vote(extracted: str | None) -> str | None:
    """One spelling for equal plain numbers (18, 18.0, 1,800 and 1800), else the text without whitespace.

    Correct and incorrect answers are merged by the same rule, so that the grader's leniency about form gives neither
    side votes.
    """
    if extracted is None:
        return None
    text = "".join(extracted.split())
    if not _PLAIN_NUMBER.fullmatch(text):
        return text
    try:
        return str(Fraction(text.replace(",", "")))
    except ZeroDivisionError:
        return text
