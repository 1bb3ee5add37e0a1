"""`model-index` metadata of a model card: README.md with front matter that huggingface_hub reads back."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from dipo_eval.export.source import Evaluated, Identity, SuiteSamples, write_text


def write(evaluated: Evaluated, identity: Identity, folder: Path) -> list[Path]:
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
            metric_args={key: metric[key] for key in ("low", "high", "interval", "stderr", "n", "k")},
            source_name="dipo_openrlhf" if identity.source_url else None,
            source_url=identity.source_url,
        )
        for name, metric in one.result["metrics"].items()
    ]
