"""Evaluation results for the Hugging Face hub, in huggingface_hub's own forms.

`.eval_results/SUITE.yaml` of a model repository (https://huggingface.co/docs/hub/eval-results): only for complete suites
whose public data set is a benchmark on the hub (its eval.yaml has a task id), since the format has no place for a subset.
The value is in percent, as on those leaderboards; the interval is in the notes, for want of a field.

`model-index` metadata of a model card: README.md with front matter that huggingface_hub reads back.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml

from dipo_eval.export.source import Evaluated, Identity, SuiteSamples, write_text

# Suite -> task id of its data set's eval.yaml.
TASK_IDS = {"gsm8k": "gsm8k"}
ARGUMENTS = ("low", "high", "interval", "stderr", "n", "k")


def write_eval_results(evaluated: Evaluated, identity: Identity, folder: Path) -> list[Path]:
    """One YAML file for each suite that the format can hold."""
    paths = []
    for one in evaluated.suites:
        entry = _entry(one, identity)
        if entry is not None:
            text = yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False, allow_unicode=False)
            paths.append(write_text(folder / ".eval_results" / f"{one.name}.yaml", text))
    return paths


def _entry(one: SuiteSamples, identity: Identity) -> EvalResultEntry | None:
    data = one.suite.data if one.suite else None
    if data is None or data.hub is None or one.name not in TASK_IDS:
        return None
    if one.settings["limit"] is not None or one.result["n_items"] != data.hub.rows:
        return None
    accuracy = one.result["metrics"]["accuracy"]
    sampling = f"temperature {one.settings['temperature']:g}, {accuracy['k']} samples a problem"
    kind = f"{accuracy['interval']} " if accuracy.get("interval") else ""
    notes = (
        f"{kind}interval {100 * accuracy['low']:.2f} to {100 * accuracy['high']:.2f}, "
        f"{accuracy['n']} problems, zero-shot, {sampling}"
    )
    return EvalResultEntry(
        dataset_id=data.hub.dataset,
        task_id=TASK_IDS[one.name],
        value=round(100 * accuracy["value"], 4),
        date=one.result["created"],
        source_url=identity.source_url,
        notes=notes,
    )


def write_model_index(evaluated: Evaluated, identity: Identity, folder: Path) -> list[Path]:
    """One README.md with all metrics of all suites; interval, standard error, n and k are arguments of the metric."""
    results = [result for one in evaluated.suites for result in _eval_results(one, identity)]
    data = ModelCardData(model_name=identity.of(evaluated), eval_results=results)
    return [write_text(folder / "README.md", f"---\n{data.to_yaml()}\n---\n")]


def _eval_results(one: SuiteSamples, identity: Identity) -> list[EvalResult]:
    hub = one.suite.data.hub if one.suite and one.suite.data else None
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=hub.dataset if hub else one.name,
            dataset_name=one.name,
            dataset_config=hub.config if hub else None,
            dataset_split=hub.split if hub else None,
            dataset_args={
                "items": one.result["n_items"],
                "limit": one.settings["limit"],
                "seed": one.settings["seed"],
            },
            metric_type=name.partition("/")[0],
            metric_name=name,
            metric_value=metric["value"],
            metric_args={key: metric[key] for key in ARGUMENTS if key in metric},
            source_name="dipo_openrlhf" if identity.source_url else None,
            source_url=identity.source_url,
        )
        for name, metric in one.result["metrics"].items()
    ]
