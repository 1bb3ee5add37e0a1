"""Keep-best by evaluation: the checkpoint with the highest score on one suite carries BEST.json and is never pruned.

The highest of many scores is too high by chance. So one half of the suite's items chooses and the other half gives the
score that is reported: without bias, and with the coverage of its own interval, however many checkpoints there are or
were, equal or not (benchmarks/best_errors.py).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.results.comparable import Made, differences, made_with
from dipo_eval.results.store import read_samples, suite_folder
from dipo_eval.runner.metrics import metrics_from_samples
from dipo_eval.subject.marker import BEST, Marked, complete_checkpoints, read_json, write_json
from dipo_eval.watch.plan import Plan, Results, found_results


@dataclass(frozen=True)
class BestRule:
    """By which number: a suite of the plan and a metric of its results.json, the higher the better."""

    suite: str
    metric: str = "accuracy"


@dataclass(frozen=True)
class Best:
    """The content of BEST.json. value, low, high: on the half of the items that did not choose; chosen_by: on the other.

    n, chosen_n: items of each half; k: samples an item; among: how many checkpoints were compared.
    """

    step: int
    run: str
    suite: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    k: int
    chosen_by: float
    chosen_n: int
    among: int


def score(results: Results, rule: BestRule) -> dict[str, Any] | None:
    """The rule's metric of a checkpoint's results, on all items: value, low, high; None where there is none."""
    metric = results.get(rule.suite, {}).get("metrics", {}).get(rule.metric)
    return metric if isinstance(metric, dict) and metric.get("value") is not None else None


def mark_best(ckpt_path: Path, plan: Plan, rule: BestRule) -> Best | None:
    """Mark the best of the checkpoints that are on disk and evaluated; of equals, the earliest.

    Only those count whose results can be compared with the newest one's (results.comparable): the best of another
    engine or chat template is not the best model. The new mark is written before an older one is removed, so that
    pruning finds at least one at any time.
    """
    on_disk = complete_checkpoints(ckpt_path)
    scored = [found for checkpoint in on_disk if (found := _scored(checkpoint, plan, rule))]
    if not scored:
        return None
    alike = [found for found in scored if not differences(found.made, scored[-1].made)]
    winner = min(alike, key=lambda found: (-found.chosen["value"], found.checkpoint.step))
    checkpoint = winner.checkpoint
    best = Best(
        checkpoint.step,
        plan.run,
        rule.suite,
        rule.metric,
        **{key: winner.reported[key] for key in ("value", "low", "high", "n", "k")},
        chosen_by=winner.chosen["value"],
        chosen_n=winner.chosen["n"],
        among=len(alike),
    )
    with contextlib.suppress(FileNotFoundError):  # pruned this moment
        if read_json(checkpoint.hf_path / BEST) != asdict(best):
            write_json(checkpoint.hf_path / BEST, asdict(best))
    for other in on_disk:
        if other.step != checkpoint.step:
            (other.hf_path / BEST).unlink(missing_ok=True)
    return best


def choosing_items(items: Sequence[str]) -> frozenset[str]:
    """The half of the items that chooses, the same for all checkpoints: every second by the hash of its id."""
    ordered = sorted(set(items), key=lambda item: hashlib.sha256(item.encode()).digest())
    return frozenset(ordered[::2])


@dataclass(frozen=True)
class _Scored:
    """A checkpoint's metric on the half that chooses and on the other, and how its result was made."""

    checkpoint: Marked
    chosen: dict[str, Any]
    reported: dict[str, Any]
    made: Made


def _scored(checkpoint: Marked, plan: Plan, rule: BestRule) -> _Scored | None:
    """None where the metric cannot be computed on both halves."""
    results = found_results(plan, checkpoint, verify=False)
    if not results or score(results, rule) is None:
        return None
    result = results[rule.suite]
    folder = suite_folder(plan.results_dir, plan.run, checkpoint.name, rule.suite)
    halves = _halves(folder, result["hashes"]["samples_sha256"], rule.metric)
    return None if halves is None else _Scored(checkpoint, *halves, made_with(result))


@lru_cache(maxsize=10_000)
def _halves(folder: Path, samples_sha256: str, metric: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Read once for each result: `samples_sha256` names its content."""
    try:
        rows = read_samples(folder)
        if kind := metric.partition("/")[2]:  # each half holds half of this kind
            rows = [row for row in rows if str(row.get("kind")) == kind]
        choosing = choosing_items([row["item_id"] for row in rows])
        chosen = [row for row in rows if row["item_id"] in choosing]
        others = [row for row in rows if row["item_id"] not in choosing]
        return metrics_from_samples(chosen)[metric], metrics_from_samples(others)[metric]
    except (UserError, KeyError, ValueError):  # damaged, or fewer than two items
        return None
