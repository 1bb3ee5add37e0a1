"""lm-eval's results format: results_<time>.json and samples_<task>_<time>.jsonl, as its EvaluationTracker writes them.

Keys and hashes are those of lm-eval 0.4.13 (lm_eval/result_schema.py, SampleResult; lm_eval/evaluator.py, evaluate;
lm_eval/loggers/evaluation_tracker.py, EvaluationTracker). The scores are ours, hence the filter's name "dipo". Unknown
here and left out: git_hash, lm_eval_version, the tokenizer's tokens, n-shot of a user's own suite, and the size of a data
set of which only a part was evaluated. ``date`` is when the results were stored.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from dipo_eval.export.source import Evaluated, Identity, Row, SuiteSamples, to_json, to_lines, write_text

FILTER = "dipo"
# Fields of a sample that are not the problem's own.
_OURS = frozenset((
    "item_id", "sample", "prompt_hash", "prompt", "response", "gold", "status", "reason", "extracted", "prompt_tokens",
    "response_tokens", "truncated", "finish_reason", "requests",
))  # fmt: skip


def write(evaluated: Evaluated, identity: Identity, folder: Path) -> list[Path]:
    """One results file for the checkpoint and one samples file a suite; returns their paths."""
    time = max(one.created for one in evaluated.suites).isoformat().replace(":", "-")
    samples = {one.name: _samples(one) for one in evaluated.suites}
    results = _results(evaluated, identity)
    results["task_hashes"] = {
        name: _sha256("".join(row["doc_hash"] + row["prompt_hash"] + row["target_hash"] for row in rows))
        for name, rows in samples.items()
    }
    home = folder / _model_folder(identity.of(evaluated))
    paths = [write_text(home / f"results_{time}.json", to_json(results))]
    for name, rows in samples.items():
        paths.append(write_text(home / f"samples_{name}_{time}.jsonl", to_lines(rows)))
    return paths


def _results(evaluated: Evaluated, identity: Identity) -> dict[str, Any]:
    suites = evaluated.suites
    newest = max(suites, key=lambda one: one.created)
    settings, versions = newest.settings, newest.result.get("versions", {})
    seconds = sum(sum(one.result["seconds"].values()) for one in suites)
    return {
        "results": {one.name: _metrics(one) for one in suites},
        "group_subtasks": {one.name: [] for one in suites},
        "configs": {one.name: _config(one) for one in suites},
        "versions": {one.name: one.result["hashes"]["suite_hash"][:12] for one in suites},
        "n-shot": {one.name: 0 for one in suites if one.suite is not None},
        "higher_is_better": {one.name: dict.fromkeys(one.result["metrics"], True) for one in suites},
        "n-samples": {one.name: _counts(one) for one in suites},
        "config": {
            "model": settings["engine"],
            "model_args": {
                "pretrained": identity.of(evaluated),
                "dtype": settings["dtype"],
                "max_model_len": settings["max_model_len"],
            },
            "model_sha": newest.result["model"]["weights_hash"],
            "limit": settings["limit"],
            "gen_kwargs": _generation(newest),
            "random_seed": settings["seed"],
        },
        "date": newest.created.timestamp(),
        **({"transformers_version": versions["transformers"]} if "transformers" in versions else {}),
        "dipo_openrlhf_version": versions.get("dipo_openrlhf"),
        "model_source": settings["engine"],
        "model_name": identity.of(evaluated),
        "model_name_sanitized": _model_folder(identity.of(evaluated)),
        "total_evaluation_time_seconds": str(round(seconds, 3)),
    }


def _metrics(one: SuiteSamples) -> dict[str, Any]:
    found: dict[str, Any] = {"alias": one.name, "sample_len": one.result["n_items"]}
    for name, metric in one.result["metrics"].items():
        found[f"{name},{FILTER}"] = metric["value"]
        found[f"{name}_stderr,{FILTER}"] = "N/A" if metric.get("stderr") is None else metric["stderr"]
    return found


def _counts(one: SuiteSamples) -> dict[str, int]:
    items = one.result["n_items"]
    return {**({"original": items} if one.settings["limit"] is None else {}), "effective": items}


def _config(one: SuiteSamples) -> dict[str, Any]:
    intervals = {
        name: {key: metric[key] for key in ("low", "high", "interval", "n", "k") if key in metric}
        for name, metric in one.result["metrics"].items()
    }
    return {
        "task": one.name,
        "output_type": "generate_until",
        "generation_kwargs": _generation(one),
        "repeats": one.result["n_samples_per_item"],
        "metadata": {"hashes": one.result["hashes"], "counts": one.result["counts"], "intervals": intervals},
    }


def _generation(one: SuiteSamples) -> dict[str, Any]:
    settings = one.settings
    return {
        "until": list(settings.get("stop") or []),
        "do_sample": settings["temperature"] > 0,
        "temperature": settings["temperature"],
        "top_p": settings["top_p"],
        "max_gen_toks": settings["max_new_tokens"],
    }


def _samples(one: SuiteSamples) -> list[Row]:
    """One row an item, its samples as lm-eval's repeats of one request."""
    items: dict[str, list[Row]] = {}
    for row in one.rows:
        items.setdefault(row["item_id"], []).append(row)
    generation = _generation(one)
    return [_sample(number, item, rows, generation) for number, (item, rows) in enumerate(items.items())]


def _sample(number: int, item: str, rows: list[Row], generation: dict[str, Any]) -> Row:
    first = rows[0]
    doc = {"id": item, "answer": first["gold"], **{k: v for k, v in first.items() if k not in _OURS}}
    target = str(first["gold"])
    return {
        "doc_id": number,
        "doc": doc,
        "target": target,
        "arguments": {"gen_args_0": {"arg_0": first["prompt"], "arg_1": generation}},
        "resps": [[row["response"] for row in rows]],
        "filtered_resps": [row["extracted"] or "[invalid]" for row in rows],  # lm-eval's value for no answer
        "filter": FILTER,
        "metrics": ["accuracy"],
        "doc_hash": _sha256(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _sha256(first["prompt"]),
        "target_hash": _sha256(target),
        "accuracy": sum(row["status"] == "correct" for row in rows) / len(rows),
    }


def _model_folder(name: str) -> str:
    return re.sub(r'["<>:/|\\?*\[\]]+', "__", name)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
