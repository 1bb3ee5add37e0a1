"""official_<harness>.json beside the samples: a harness's scores, and where our verdicts differ.

harness, version, method, code_sha256, suite, samples_sha256, n_samples, undecided, left_out
metrics         {name: {"value", "n", "ours", "disagreements"}}; the last two null where ours has no counterpart
disagreements   one row a metric and sample: both scores and both reasons
per_sample      the harness's scores of every sample, in the order of samples.jsonl
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from dipo_eval.files.atomic import write_atomic
from dipo_eval.files.bounded_file import MAX_RESULT, read_limited
from dipo_eval.harness.base import Advance, Harness, OfficialMetric, OfficialScore, Row, SampleScore, mean
from dipo_eval.results.store import read_samples
from dipo_eval.results.stored_checks import parse_json

SCHEMA = 1


def official_path(folder: Path, harness: str) -> Path:
    """Where a harness's scores of a results folder lie."""
    return folder / f"official_{harness.replace('-', '_')}.json"


def official_scores(
    folder: Path, result: Mapping[str, Any], harness: Harness, advance: Advance = lambda count: None
) -> dict[str, Any]:
    """A harness's scores of a results folder: those stored where they are of these samples, else made and stored.

    ``result`` is the folder's results.json. Stored ones hold for the same samples, version of the harness, and code
    of ours that runs it.
    """
    path = official_path(folder, harness.name)
    wanted = {
        "schema": SCHEMA,
        "harness": harness.name,
        "version": harness.version(),
        "code_sha256": _code_sha256(),
        "samples_sha256": result["hashes"]["samples_sha256"],
    }
    old = _read(path)
    if old is not None and wanted.items() <= old.items():
        return old
    rows = read_samples(folder)
    score = harness.score(result["suite"], rows, advance)
    made = {**wanted, "suite": result["suite"], **as_json(score, rows)}
    write_atomic(path, (json.dumps(made, indent=1, allow_nan=False) + "\n").encode("ascii"))
    return made


def as_json(score: OfficialScore, rows: Sequence[Row]) -> dict[str, Any]:
    """The part of the file that a harness's score and our verdicts on the same rows make."""
    ours = {(row["item_id"], row.get("sample", 0)): row for row in rows}
    paired = [(one, ours[one.item_id, one.sample]) for one in score.samples]
    disagreements = [
        _disagreement(name, metric.score, one, row)
        for name, metric in score.metrics.items()
        if metric.score is not None and metric.kind is None
        for one, row in paired
        if one.scores[metric.score] != _our_score(row)
    ]
    return {
        "method": score.method,
        "n_samples": len(rows),
        "undecided": sum(one.undecided is not None for one in score.samples),
        "left_out": score.left_out,
        "metrics": {
            name: _metric(metric, [pair for pair in paired if metric.kind in (None, pair[1].get("kind"))])
            for name, metric in score.metrics.items()
        },
        "disagreements": disagreements,
        "per_sample": [_sample(one) for one in score.samples],
    }


def _metric(metric: OfficialMetric, paired: Sequence[tuple[SampleScore, Row]]) -> dict[str, Any]:
    made = {"value": metric.value, "n": len(paired), "ours": None, "disagreements": None}
    if metric.score is not None:
        made["ours"] = mean([_our_score(row) for _, row in paired])
        made["disagreements"] = sum(one.scores[metric.score] != _our_score(row) for one, row in paired)
    return made


def _disagreement(name: str, score: str, sample: SampleScore, row: Row) -> dict[str, Any]:
    return {
        "item_id": sample.item_id,
        "sample": sample.sample,
        "metric": name,
        "ours": row.get("status"),
        "our_reason": row.get("reason"),
        "theirs": None if sample.undecided else sample.scores[score],
        "their_reason": sample.undecided or sample.reasons.get(score, ""),
    }


def _sample(one: SampleScore) -> dict[str, Any]:
    made = {"item_id": one.item_id, "sample": one.sample, "scores": dict(one.scores)}
    return made if one.undecided is None else {**made, "undecided": one.undecided}


def _our_score(row: Row) -> float:
    return float(row.get("status") == "correct")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = parse_json(read_limited(path, MAX_RESULT))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


@lru_cache
def _code_sha256() -> str:
    """Of this package and of the tasks: scores that other code of ours asked for are made again."""
    folder, digest = Path(__file__).parent, hashlib.sha256()
    for path in sorted([*folder.glob("*.py"), *folder.glob("lm_eval_tasks/*.[py][ya]*")]):
        digest.update(f"{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
