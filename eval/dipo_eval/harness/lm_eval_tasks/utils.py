"""What the YAML files beside this file call: data without a network, and lm-eval's own scoring of MATH and AIME.

lm-eval loads this file by its path, so nothing of this project is imported but by ``generated``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import datasets

Record = dict[str, Any]


def load(
    file: str, train_file: str | None = None, records: list[Record] | None = None, **_: Any
) -> dict[str, datasets.Dataset]:
    """The split ``test`` of a JSON-lines file in the folder that DIPO_DATA_DIR names, or of ``records`` where given.

    ``train_file`` is that of the split ``train``, for tasks that show solved problems. Raises FileNotFoundError where
    there is no such file, ValueError where the variable is not set.
    """
    files = {"test": file, **({"train": train_file} if train_file else {})}
    found = {split: records if records is not None else _read(name) for split, name in files.items()}
    return {split: datasets.Dataset.from_list([as_doc(row) for row in rows]) for split, rows in found.items()}


def _read(file: str) -> list[Record]:
    folder = os.environ.get("DIPO_DATA_DIR")
    if not folder:
        raise ValueError(f"{file} is needed: name its folder with the variable DIPO_DATA_DIR")
    text = (Path(folder) / file).read_text(encoding="utf-8")
    # Not splitlines(): U+2028 and the like are allowed inside a JSON string.
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def generated(
    size: int, seed: int, records: list[Record] | None = None, **_: Any
) -> dict[str, datasets.Dataset]:
    """The split ``test`` of arithmetic-control: ``size`` problems fixed by ``seed``, or ``records`` where given."""
    if records is None:
        from dipo_eval.suites.arithmetic_problems import problems

        made = problems("test", size, seed, unique_formulas=True)
        records = [{"id": p.id, "question": p.question, "answer": p.answer} for p in made]
    return load("", records=records)


def as_doc(record: Record) -> Record:
    """lm-eval's document of a record with id, question and answer, and perhaps a solution.

    ``target`` is what gsm8k's metric compares with, ``answer`` what aime's does, ``solution`` what MATH's does. A list
    of answers becomes one text, joined with commas and without dollar signs: lm-eval's scoring knows one gold.
    """
    answer = record["answer"]
    if isinstance(answer, list):
        answer = ", ".join(answer).replace("$", "")
    return {
        "id": record["id"],
        "question": record["question"],
        "answer": answer,
        "target": record.get("solution") or answer,
        "solution": f"\\boxed{{{answer}}}",
    }


def hendrycks_math(doc: Record, results: list[str]) -> dict[str, float]:
    """lm-eval's scoring of hendrycks_math500: all from the first to the last dollar sign, else all of the response."""
    from lm_eval.tasks.hendrycks_math.utils import process_results

    return dict(process_results(doc, results))


def aime(doc: Record, results: list[str]) -> dict[str, float]:
    """lm-eval's scoring of aime24 and aime25: the last box, else what hendrycks_math reads."""
    from lm_eval.tasks.aime.utils import process_results

    return dict(process_results(doc, results))
