"""evalplus's scores of HumanEval+ and MBPP+: its own sanitizer, its own check, its own pass@k, base and plus.

All three run on what a model wrote, so they run in the jail of ``code_runner``, in evalplus's own environment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.grading.code import environment
from dipo_eval.harness import base
from dipo_eval.harness.base import OfficialMetric, Row, SampleScore
from dipo_eval.workers.pool import WorkerPool

NAME = "evalplus"
LIMIT_S = 180.0
"""Seconds for a sample in the jail: evalplus gives base and plus tests 62 each at most; its sanitizer has no limit."""
_GRACE_S = 60.0  # the reference's results, where they are not yet known, and the end of a jail
_MEMORY_BYTES = 8 * 1024**3
_LOAD = "dipo_eval.harness.evalplus_worker:load"
_SUITES = ("humaneval+", "mbpp+")
_PASS = "pass"


def _version() -> str:
    environment.evalplus_python()
    return environment.EVALPLUS_VERSION


def _score(suite: str, rows: Sequence[Row], advance: base.Advance) -> base.OfficialScore:
    samples = []
    missing = f"{NAME} cannot be loaded in its environment: run `make evalplus` again"
    dataset = environment.dataset_of(rows[0]["item_id"])
    program = replace(environment.program(_LOAD, [dataset]), memory_bytes=_MEMORY_BYTES)
    common = {"dataset": dataset, "limit_s": LIMIT_S}
    with base.process(program, missing) as pool:
        for row in rows:
            question = {**common, "task_id": row["item_id"], "response": row["response"]}
            samples.append(_sample(row, pool.ask(question, LIMIT_S + _GRACE_S)))
            advance(1)
        metrics = _pass_at_k(pool, samples)
    return base.OfficialScore("sanitize and check_correctness", metrics, samples)


def _sample(row: Row, reply: dict[str, Any]) -> SampleScore:
    """Plus counts only with base, as in evalplus.evaluate."""
    sample = row.get("sample", 0)
    if "base" not in reply:
        return SampleScore(row["item_id"], sample, {"base": 0.0, "plus": 0.0}, {}, reply["reason"])
    base, plus = reply["base"] == _PASS, reply["plus"] == _PASS
    scores = {"base": float(base), "plus": float(base and plus)}
    reasons = {"base": f"base: {reply['base']}", "plus": f"base: {reply['base']}, plus: {reply['plus']}"}
    return SampleScore(row["item_id"], sample, scores, reasons)


def _pass_at_k(pool: WorkerPool, samples: Sequence[SampleScore]) -> dict[str, OfficialMetric]:
    by_item: dict[str, list[SampleScore]] = defaultdict(list)
    for sample in samples:
        by_item[sample.item_id].append(sample)
    counts = {
        part: [sum(int(one.scores[part]) for one in group) for group in by_item.values()]
        for part in ("base", "plus")
    }
    counts["total"] = [len(group) for group in by_item.values()]
    found = pool.ask(counts, LIMIT_S)
    if "metrics" not in found:
        raise UserError(f"{NAME}: its process ended while it computed pass@k; try again")
    compared = "pass@1,plus"  # our verdict is the one on base and plus together
    return {
        name: OfficialMetric(value, "plus" if name == compared else None)
        for name, value in found["metrics"].items()
    }


HARNESS = base.Harness(NAME, _version, lambda suite: suite in _SUITES, _score)
