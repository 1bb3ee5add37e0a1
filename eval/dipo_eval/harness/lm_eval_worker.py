"""The process that lets lm-eval score one response after another: its own Task, filters, scoring, aggregation."""

from __future__ import annotations

import json
import sys
from functools import lru_cache
from typing import Any

from dipo_eval.grading.workers.server import Answer, serve

_MAX_REASON_CHARS = 200


def main() -> None:
    """Serve three questions about a task: the names of its scores, the scores of a response, the sum of scores."""
    serve(_load)


def _load() -> Answer:
    import lm_eval.tasks.aime.utils
    import lm_eval.tasks.hendrycks_math.utils  # noqa: F401

    return _answer


def _answer(question: dict[str, Any]) -> dict[str, Any]:
    task = _task(question["task"])
    if "values" in question:
        return {"metrics": {name: _summed(task, name, values) for name, values in question["values"].items()}}
    if "record" not in question:
        names = [f"{metric},{ensemble.name}" for ensemble in task._filters for metric in task.aggregation()]
        return {"scores": names}
    try:
        return {"status": "scored", **_scored(task, **{k: v for k, v in question.items() if k != "task"})}
    except MemoryError:
        return {"status": "undecided", "reason": "memory limit"}
    except Exception as error:
        return {"status": "undecided", "reason": f"lm-eval raises {type(error).__name__}"}


@lru_cache
def _task(name: str) -> Any:
    """The task of that name in our folder, on a stand-in for its data: rows bring their own documents."""
    from lm_eval.tasks import TaskManager

    nothing = [{"id": "", "question": "", "answer": ""}]
    folder = json.loads(sys.argv[2])["tasks"]
    manager = TaskManager(include_path=folder, include_defaults=False, metadata={"records": nothing})
    return manager.load(name)["tasks"][name]


def _scored(task: Any, record: dict[str, Any], prompt: str, response: str) -> dict[str, Any]:
    """What lm_eval.evaluator does with a response: all filters, then process_results on what each leaves."""
    from lm_eval.api.instance import Instance

    from dipo_eval.lm_eval_tasks.utils import as_doc

    doc = as_doc(record)
    arguments = (prompt, dict(task.config.generation_kwargs))
    instance = Instance("generate_until", doc, arguments, 0, (task.config.task, 0, 1), resps=[response])
    task._instances = [instance]
    task.apply_filters()
    scores: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for key, filtered in instance.filtered_resps.items():
        for metric, value in task.process_results(doc, [filtered]).items():
            scores[f"{metric},{key}"] = float(value)
            if filtered != response:
                reasons[f"{metric},{key}"] = str(filtered)[:_MAX_REASON_CHARS]
    return {"scores": scores, "reasons": reasons}


def _summed(task: Any, name: str, values: list[float]) -> float:
    return float(task.aggregation()[name.partition(",")[0]](values))
