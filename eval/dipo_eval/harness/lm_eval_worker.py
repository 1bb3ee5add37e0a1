"""The process that lets lm-eval score one response after another: its own Task, filters, scoring, aggregation."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

from dipo_eval.harness.lm_eval_tasks.utils import as_doc
from dipo_eval.workers.server import Answer

_MAX_REASON_CHARS = 200


def load(settings: dict[str, Any]) -> Answer:
    """Three questions about a task: the names of its scores, the scores of a response, the sum of scores."""
    import lm_eval.tasks.aime.utils
    import lm_eval.tasks.hendrycks_math.utils  # noqa: F401

    return partial(_answer, settings["tasks"])


def _answer(folder: str, question: dict[str, Any]) -> dict[str, Any]:
    task = _task(folder, question["task"])
    if "values" in question:
        return {"metrics": {name: _summed(task, name, values) for name, values in question["values"].items()}}
    if "record" not in question:
        names = [f"{metric},{ensemble.name}" for ensemble in task._filters for metric in task.aggregation()]
        return {"scores": names}
    return _scored(task, question["record"], question["prompt"], question["response"])


@lru_cache
def _task(folder: str, name: str) -> Any:
    """The task of that name in our folder, on a stand-in for its data: rows bring their own documents."""
    from lm_eval.tasks import TaskManager

    nothing = [{"id": "", "question": "", "answer": ""}]
    manager = TaskManager(include_path=folder, include_defaults=False, metadata={"records": nothing})
    return manager.load(name)["tasks"][name]


def _scored(task: Any, record: dict[str, Any], prompt: str, response: str) -> dict[str, Any]:
    """What lm_eval.evaluator does with a response: all filters, then process_results on what each leaves."""
    from lm_eval.api.instance import Instance

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
