"""The hub's evaluation results: `.eval_results/SUITE.yaml` of a model repository, in huggingface_hub's own form.

https://huggingface.co/docs/hub/eval-results. Only suites whose public data set is a benchmark on the hub (it has an
eval.yaml with a task id) can be said there, and only whole ones: the format has no place for a subset. The value is
in percent, as on those leaderboards; it has no field for an interval, so that is in the notes.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from dipo_eval.export.source import Evaluated, Identity, SuiteSamples, write_text

# Suite -> task id of its data set's eval.yaml (every_eval_ever 0.3.0, tools/hf_community_evals.py:160, for gsm8k).
TASK_IDS = {"gsm8k": "gsm8k"}


def write(evaluated: Evaluated, identity: Identity, folder: Path) -> list[Path]:
    """One file for each suite that can be said; none where there is none."""
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
    notes = (
        f"{accuracy['interval']} interval {100 * accuracy['low']:.2f} to {100 * accuracy['high']:.2f}, "
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
