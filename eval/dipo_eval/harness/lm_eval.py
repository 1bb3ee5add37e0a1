"""lm-eval's scores of our math suites, by its own filters, scoring functions and aggregations.

A suite is scored as the task of the same name in the folder ``lm_eval_tasks``, in a process of its own: regular
expressions and LaTeX parsers that are not ours read what a model wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.harness import base
from dipo_eval.workers.process import Program

NAME = "lm-eval"
TASKS = Path(__file__).resolve().parent / "lm_eval_tasks"
_SUM_LIMIT_S = 120.0
_PROGRAM = Program(
    "dipo_eval.harness.lm_eval_worker:load",
    {"tasks": str(TASKS)},
    memory_bytes=4 * 1024**3,
    variables={"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"},
)


def task_name(suite: str) -> str:
    """lm-eval's name of a suite: gsm8k is dipo_gsm8k."""
    return "dipo_" + suite.replace("-", "_")


def _covers(suite: str) -> bool:
    return (TASKS / f"{task_name(suite)}.yaml").is_file()


def _score(suite: str, rows: Sequence[base.Row], advance: base.Advance) -> base.OfficialScore:
    """Every sample scored by itself, as lm-eval scores one response; several of an item are averaged."""
    name = task_name(suite)
    replies = []
    with base.process(_PROGRAM, f"{NAME} cannot be loaded here: run `make setup`") as pool:
        for row in rows:
            replies.append(pool.ask(_question(name, row), base.LIMIT_S))
            advance(1)
        try:
            names = pool.ask({"task": name}, _SUM_LIMIT_S)["scores"]
            samples = [_sample(row, reply, names) for row, reply in zip(rows, replies, strict=True)]
            values = {score: [sample.scores[score] for sample in samples] for score in names}
            means = pool.ask({"task": name, "values": values}, _SUM_LIMIT_S)["metrics"]
        except KeyError as error:
            raise UserError(f"{NAME}: its process ended while it summed up {suite}; try again") from error
    metrics = {score: base.OfficialMetric(value, score) for score, value in means.items()}
    return base.OfficialScore(f"task {name}", metrics, samples)


def _question(name: str, row: base.Row) -> dict[str, Any]:
    record = {"id": row["item_id"], "question": "", "answer": row["gold"]}
    return {"task": name, "record": record, "prompt": row.get("prompt", ""), "response": row["response"]}


def _sample(row: base.Row, reply: dict[str, Any], names: Sequence[str]) -> base.SampleScore:
    undecided = None if "scores" in reply else reply["reason"]
    scores = dict.fromkeys(names, 0.0) if undecided else reply["scores"]
    return base.SampleScore(row["item_id"], row.get("sample", 0), scores, reply.get("reasons", {}), undecided)


HARNESS = base.Harness(NAME, partial(base.installed_version, NAME), _covers, _score)
