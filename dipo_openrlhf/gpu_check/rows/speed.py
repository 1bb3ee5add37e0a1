"""Tokens a second, and the seconds of a weight sync and of sleep and wake: measured, and the estimate's from then on."""

from __future__ import annotations

import json

from dipo_openrlhf.estimate.options import Assumptions
from dipo_openrlhf.gpu_check.device import device_file
from dipo_openrlhf.gpu_check.evidence import Evidence, MissingEvidenceError
from dipo_openrlhf.gpu_check.row import Row
from dipo_openrlhf.gpu_check.rows.memory import workload
from dipo_openrlhf.gpu_check.settings import KILLED_AFTER

NAME = "speed"
SHOWN = "measured"
KEYS = {
    "generated": "throughput/generated_per_second",
    "trained": "throughput/trained_per_second",
    "sync": "timing/phases/sync",
    "sleep_wake": "timing/phases/sleep_wake",
}


def check(evidence: Evidence) -> Row:
    """Of the second step, whose process is warm."""
    row = evidence.metrics(evidence.settings.run_dir).get(KILLED_AFTER, {})
    found = {name: float(row[key]) for name, key in KEYS.items() if row.get(key) is not None}
    if missing := [KEYS[name] for name in KEYS if name not in found]:
        raise MissingEvidenceError(f"metrics.jsonl has no {missing[0]} in step {KILLED_AFTER}")
    text = (
        f"{found['generated']:,.0f} tokens/s sampled, {found['trained']:,.0f} trained; sync {found['sync']:.2f} s, sleep "
        f"and wake {found['sleep_wake']:.2f} s"
    )
    figures = {**found, "measured": for_estimate(evidence, found)}
    slow = [name for name in ("generated", "trained") if not found[name] > 0]
    meaning = f"nothing was {slow[0]} in step {KILLED_AFTER} (metrics.jsonl)" if slow else ""
    return Row(NAME, not slow, text, SHOWN, meaning, figures)


def for_estimate(evidence: Evidence, found: dict[str, float]) -> dict[str, float]:
    """Values of estimate/measured.py: a fixed time is what is left of a measured one without its bytes."""
    path = device_file(evidence.settings)
    device = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    assume, work = Assumptions(), workload(evidence)
    longest = max(int(part["action_mask"].sum(-1).max()) for part in evidence.dump(KILLED_AFTER))
    tokens = sum(int(part["action_mask"].sum()) for part in evidence.dump(KILLED_AFTER))
    weights = 2 * work.shape.parameters
    host_gbs = device.get("host_gbs", assume.host_gbs)
    bandwidth = device.get("bandwidth_tbs", assume.bandwidth_tbs) * 1e12 * assume.decode_utilization
    decode = tokens / found["generated"] / longest - weights / bandwidth if found["generated"] else 0.0
    values = {
        "decode_ms": 1e3 * decode,
        "sync_seconds": found["sync"] - weights / assume.sync_gbs / 1e9,
        "sleep_seconds": found["sleep_wake"] - 2 * weights / host_gbs / 1e9,
    }
    named = {"memory_gib": "gpu_memory_gib", "bandwidth_tbs": "bandwidth_tbs", "host_gbs": "host_gbs"}
    known = {ours: device[theirs] for theirs, ours in named.items() if theirs in device}
    return {**{name: max(0.0, value) for name, value in values.items()}, **known}
