"""Complete results in the form that `dipo eval` writes, and damaged ones, for the tests that read them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dipo_eval.runner.metrics import counts_from_samples, metrics_from_samples

SETTINGS: dict[str, Any] = {
    "engine": "vllm", "temperature": 0.0, "top_p": 1.0, "max_new_tokens": 64, "max_model_len": None,
    "n_samples": 1, "seed": 0, "limit": None, "dtype": "float32", "stop": [], "thinking": None,
    "prompt_form": "chat", "chat_template_hash": "t",
}  # fmt: skip


def row(item: str, status: str = "correct", sample: int = 0, **more: Any) -> dict[str, Any]:
    """One line of samples.jsonl."""
    return {
        "item_id": item, "sample": sample, "prompt_hash": "p", "prompt": "2 + 2?", "response": "4", "gold": "4",
        "status": status, "reason": "", "extracted": "4", "prompt_tokens": 3, "response_tokens": 1,
        "truncated": False, "finish_reason": "stop", **more,
    }  # fmt: skip


def rows_of(scores: Mapping[str, Sequence[float]], wrong: str = "wrong") -> list[dict[str, Any]]:
    """Rows from item -> the scores of its samples."""
    return [
        row(item, "correct" if score else wrong, sample)
        for item, samples in scores.items()
        for sample, score in enumerate(samples)
    ]


def result_of(rows: Sequence[dict[str, Any]], run: str, checkpoint: str, suite: str, **more: Any) -> Any:
    """results.json of these rows; `settings` and `hashes` are added to the usual ones."""
    settings, hashes = more.pop("settings", {}), more.pop("hashes", {})
    items = len({one["item_id"] for one in rows})
    return {
        "schema": 1, "run": run, "checkpoint": checkpoint, "step": None, "suite": suite,
        "model": {"path": "m", "weights_hash": f"w-{checkpoint}"},
        "settings": SETTINGS | settings, "n_items": items, "n_samples_per_item": len(rows) // items,
        "hashes": {"items_sha256": "i", "suite_hash": "g"} | hashes,
        "metrics": metrics_from_samples(rows), "counts": counts_from_samples(rows),
        "versions": {"python": "3.11.7", "vllm": "0.29.0"},
        "seconds": {"load": 1.0, "generate": 1.0, "grade": 1.0}, "created": "2026-05-04T09:30:00+00:00", **more,
    }  # fmt: skip


def store(
    results: Path, checkpoint: str, rows: Sequence[dict[str, Any]], suite: str = "gsm8k", **more: Any
) -> Path:
    """Write a whole result of run "run"; returns its folder."""
    folder = results / "run" / checkpoint / suite
    put(folder, lines(rows), result_of(rows, "run", checkpoint, suite, **more))
    return folder


def lines(rows: Sequence[Any]) -> bytes:
    """Rows as JSON lines; NaN and the like are written as Python does."""
    return "".join(json.dumps(one) + "\n" for one in rows).encode()


def put(folder: Path, samples: bytes, result: Any) -> None:
    """Write both files as given; where the result has hashes, that of the samples is made right."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "samples.jsonl").write_bytes(samples)
    if isinstance(result, dict) and isinstance(result.get("hashes"), dict):
        digest = hashlib.sha256(samples).hexdigest()
        result = {**result, "hashes": {**result["hashes"], "samples_sha256": digest}}
    (folder / "results.json").write_text(json.dumps(result))
