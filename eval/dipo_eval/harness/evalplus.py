"""evalplus's scores of HumanEval+ and MBPP+: its own sanitizer, its own check, its own pass@k, base and plus.

All three run on what a model wrote, so they run in the jail of ``code_runner``, in evalplus's own environment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.grading.code.environment import (
    DATASETS,
    EVALPLUS_VERSION,
    cache_dir,
    data_path,
    dataset_of,
    evalplus_python,
    sandbox_walls,
)
from dipo_eval.harness.base import Advance, Harness, OfficialMetric, OfficialScore, Row, SampleScore, process
from dipo_eval.workers.pool import WorkerPool
from dipo_eval.workers.process import Program

NAME = "evalplus"
LIMIT_S = 180.0
"""Seconds for a sample in the jail: evalplus gives base and plus tests 62 each at most; its sanitizer has no limit."""
_GRACE_S = 60.0  # the reference's results, where they are not yet known, and the end of a jail
_MEMORY_BYTES = 8 * 1024**3
_SUITES = ("humaneval+", "mbpp+")
_PASS = "pass"


def _version() -> str:
    evalplus_python()
    return EVALPLUS_VERSION


def _score(suite: str, rows: Sequence[Row], advance: Advance) -> OfficialScore:
    samples = []
    missing = f"{NAME} cannot be loaded in its environment: run `make evalplus` again"
    dataset = dataset_of(rows[0]["item_id"])
    with process(_program(dataset), missing) as pool:
        for row in rows:
            question = {
                "dataset": dataset, "task_id": row["item_id"], "response": row["response"], "limit_s": LIMIT_S,
            }  # fmt: skip
            samples.append(_sample(row, pool.ask(question, LIMIT_S + _GRACE_S)))
            advance(1)
        metrics = _pass_at_k(pool, samples)
    return OfficialScore(NAME, EVALPLUS_VERSION, "sanitize and check_correctness", metrics, samples)


def _program(dataset: str) -> Program:
    return Program(
        "dipo_eval.harness.evalplus_worker:load",
        {"cache": str(cache_dir() / "evalplus"), "walls": sandbox_walls()},
        memory_bytes=_MEMORY_BYTES,
        python=evalplus_python(),
        variables={DATASETS[dataset][0]: str(data_path(dataset))},
    )


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
    counts: Mapping[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for sample in samples:
        count = counts[sample.item_id]
        count[0] += 1
        count[1] += int(sample.scores["base"])
        count[2] += int(sample.scores["plus"])
    total, base, plus = (list(column) for column in zip(*counts.values(), strict=True))
    found = pool.ask({"total": total, "base": base, "plus": plus}, LIMIT_S)
    if "metrics" not in found:
        raise UserError(f"{NAME}: its process ended while it computed pass@k; try again")
    compared = "pass@1,plus"  # our verdict is the one on base and plus together
    return {
        name: OfficialMetric(value, "plus" if name == compared else None)
        for name, value in found["metrics"].items()
    }


HARNESS = Harness(NAME, _version, lambda suite: suite in _SUITES, _score)
