"""Peak memory of each phase, memory while asleep and host memory are not above the estimate (`dipo doctor RECIPE`).

What a rank's tensors take is compared with the estimate's lines of the training alone, for the tokens of the run's
largest micro-batch: the reserve and the sleeping engine are other processes' or the driver's. Less is no failure:
gathered weights, buckets and the reserve are upper bounds. On CPU nothing of this can be measured; the ranks' resident
memory is shown.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from dipo_openrlhf.estimate import memory
from dipo_openrlhf.estimate.options import Assumptions
from dipo_openrlhf.estimate.workload import GIB, Workload, workload_of
from dipo_openrlhf.gpu_check.evidence import Evidence, MissingEvidenceError
from dipo_openrlhf.gpu_check.observed_files import host_files, window_files
from dipo_openrlhf.gpu_check.row import Row
from dipo_openrlhf.gpu_check.settings import KILLED_AFTER

NAME = "memory"
LIMIT = 0.1  # of the estimate
SMALLEST = 0.25  # GiB: below this, the allocator's rounding and the libraries' own buffers count
SHOWN = f"at most {LIMIT:.0%} (or {SMALLEST:g} GiB) above the estimate"
PHASES = {"update": "update", "scoring": "forward"}  # of the estimate -> of metrics.jsonl
NOT_THE_RANK = ("reserve", "engine", "engine, asleep")


def check(evidence: Evidence) -> Row:
    if evidence.settings.cpu:
        peak = max((host["peak"] for host in _hosts(evidence)), default=0.0) / GIB
        why = "there is no GPU; shown is the most host memory that a rank's process had"
        return Row(NAME, None, f"{peak:.1f} GiB resident a rank", SHOWN, why, {"rank_peak_rss_gib": peak})
    found = measured(evidence)
    expected = estimated(evidence)
    if missing := [name for name in expected if name not in found]:
        raise MissingEvidenceError(f"metrics.jsonl has no memory of: {', '.join(missing)}")
    wrong = [name for name, size in expected.items() if found[name] - size > max(SMALLEST, LIMIT * size)]
    text = ", ".join(f"{name} {found[name]:.2f} ({size:.2f})" for name, size in expected.items()) + " GiB"
    meaning = ""
    if wrong:
        name = wrong[0]
        meaning = (
            f"{name} takes {found[name]:.2f} GiB, the estimate says {expected[name]:.2f}: `dipo doctor RECIPE` is too "
            "low for this machine; leave room (--reserve-gib, --asleep-gib) before a large run"
        )
    return Row(NAME, not wrong, text, SHOWN, meaning, {"measured_gib": found, "estimated_gib": expected})


def measured(evidence: Evidence) -> dict[str, float]:
    """GiB by phase of the estimate, the most of the step before the kill and of those after it; `asleep`: the whole GPU
    after the training's states have left it; `host`: what that added to one host's memory.
    """
    rows = evidence.metrics(evidence.settings.run_dir)
    keys = {phase: f"memory/{ours}_peak_gib" for phase, ours in PHASES.items()}
    keys["asleep"] = "memory/offload_device_gib"
    found: dict[str, float] = {}
    for name, key in keys.items():
        if seen := [
            float(row[key]) for step, row in rows.items() if step >= KILLED_AFTER and row.get(key) is not None
        ]:
            found[name] = max(seen)
    if moved := [host["offloaded"] for host in _hosts(evidence)]:
        found["host"] = sum(moved) / GIB
    return found


def estimated(evidence: Evidence) -> dict[str, float]:
    """The same by the estimate, for the run's largest micro-batches."""
    assume, work = Assumptions(), workload(evidence)
    found = {
        phase.name: sum(line.value for line in phase.lines if line.what not in NOT_THE_RANK) / GIB
        for phase in memory.phases(work, assume)
        if phase.name in PHASES
    }
    if work.trainer_sleep and work.engine_sleep:
        weights = memory.training_state(work)[0].value / GIB
        found["asleep"] = weights + assume.asleep_gib + assume.reserve_gib
        engine = dataclasses.replace(work, engine_sleep=False)  # its weights are another process's
        found["host"] = memory.host_bytes(engine).value / GIB
    return found


def workload(evidence: Evidence) -> Workload:
    windows = [evidence.load(path) for path in window_files(evidence.settings.run_dir)]
    trained = [_tokens(part) for window in windows for part in window["micro_batches"]]
    scored = [_tokens(part) for part in evidence.dump(1)]
    if not trained:
        raise MissingEvidenceError("no micro-batch was kept")
    work = workload_of(evidence.recipe, Assumptions())
    return dataclasses.replace(work, train_tokens=max(trained), score_tokens=max(scored))


def _tokens(part: dict[str, Any]) -> int:
    return int(part["attention_mask"].sum())


def _hosts(evidence: Evidence) -> list[dict[str, float]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in host_files(evidence.settings.run_dir)]
