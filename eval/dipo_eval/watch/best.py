"""Keep-best by evaluation: the checkpoint with the highest score on one suite carries BEST.json and is never pruned."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipo_eval.comparable import differences, made_with
from dipo_eval.watch.marker import BEST, read_json, whole_checkpoints, write_json
from dipo_eval.watch.plan import Plan, found_results


@dataclass(frozen=True)
class BestRule:
    """By which number: a suite of the plan and a metric of its results.json, the higher the better."""

    suite: str
    metric: str = "accuracy"


def score(results: dict[str, dict[str, Any]], rule: BestRule) -> dict[str, Any] | None:
    """The rule's metric of a checkpoint's results: value, low, high; None where there is none."""
    metric = results.get(rule.suite, {}).get("metrics", {}).get(rule.metric)
    return metric if isinstance(metric, dict) and metric.get("value") is not None else None


def mark_best(ckpt_path: Path, plan: Plan, rule: BestRule) -> int | None:
    """Mark the best of the checkpoints that are on disk and evaluated; of equals, the earliest. Returns its step.

    Only those count whose results can be compared with the newest one's (dipo_eval.comparable): the best of another
    engine or chat template is not the best model. The new mark is written before an older one goes: whoever prunes finds
    at least one at any time.
    """
    ranked = []
    on_disk = whole_checkpoints(ckpt_path)
    for checkpoint in on_disk:
        results = found_results(
            plan, checkpoint.name, checkpoint.weights_hash, checkpoint.hf_path, verify=False
        )
        value = score(results, rule) if results else None
        if results and value is not None:
            made = made_with(results[rule.suite])
            ranked.append((-value["value"], checkpoint.step, checkpoint, value, made))
    if not ranked:
        return None
    alike = [row for row in ranked if not differences(row[4], ranked[-1][4])]
    _, step, best, value, _ = min(alike, key=lambda row: row[:2])
    content = {"step": step, "suite": rule.suite, "metric": rule.metric, "run": plan.run} | {
        key: value.get(key) for key in ("value", "low", "high", "n", "k")
    }
    with contextlib.suppress(FileNotFoundError):  # pruned this moment
        if read_json(best.hf_path / BEST) != content:
            write_json(best.hf_path / BEST, content)
    for other in on_disk:
        if other.step != step:
            (other.hf_path / BEST).unlink(missing_ok=True)
    return step
