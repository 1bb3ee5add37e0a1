"""official_<harness>.json beside the samples: a harness's scores, and where our verdicts are others.

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
_Key = tuple[str, int]


def official_path(folder: Path, harness: str) -> Path:
    """Where a harness's scores of a results folder lie."""
    return folder / f"official_{harness.replace('-', '_')}.json"


def official_scores(
    folder: Path, result: Mapping[str, Any], harness: Harness, advance: Advance = lambda count: None
) -> dict[str, Any]:
    """A harness's scores of a results folder: those stored where they are of these samples, else made and stored.

    ``result`` is the folder's results.json. Stored ones hold for the same samples, version of the harness, and code
    of ours that asks it.
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
    ours = {_key(row): row for row in rows}
    compared = {
        name: [one for one in score.samples if metric.kind in (None, ours[_key_of(one)].get("kind"))]
        for name, metric in score.metrics.items()
    }
    disagreements = [
        _disagreement(name, metric.score, one, ours[_key_of(one)])
        for name, metric in score.metrics.items()
        if metric.score is not None and metric.kind is None
        for one in compared[name]
        if one.scores[metric.score] != _our_score(ours[_key_of(one)])
    ]
    return {
        "method": score.method,
        "n_samples": len(rows),
        "undecided": sum(one.undecided is not None for one in score.samples),
        "left_out": score.left_out,
        "metrics": {
            name: _metric(metric, compared[name], [ours[_key_of(one)] for one in compared[name]])
            for name, metric in score.metrics.items()
        },
        "disagreements": disagreements,
        "per_sample": [_sample(one) for one in score.samples],
    }


def _metric(metric: OfficialMetric, samples: Sequence[SampleScore], rows: Sequence[Row]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "value": metric.value, "n": len(samples), "ours": None, "disagreements": None,
    }  # fmt: skip
    if metric.score is not None:
        mine = [_our_score(row) for row in rows]
        theirs = [one.scores[metric.score] for one in samples]
        made["ours"] = mean(mine)
        made["disagreements"] = sum(a != b for a, b in zip(mine, theirs, strict=True))
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


def _key(row: Row) -> _Key:
    return row["item_id"], row.get("sample", 0)


def _key_of(one: SampleScore) -> _Key:
    return one.item_id, one.sample


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = parse_json(read_limited(path, MAX_RESULT))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


@lru_cache
def _code_sha256() -> str:
    """Of this package and of the tasks: scores that other code of ours asked for are made again."""
    folders = (Path(__file__).parent, Path(__file__).parent / "lm_eval_tasks")
    digest = hashlib.sha256()
    for path in sorted(file for folder in folders for file in folder.glob("*.[py][ya]*")):
        digest.update(f"{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
