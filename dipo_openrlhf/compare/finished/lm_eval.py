"""lm-eval's samples: samples_TASK_TIME.jsonl as `lm_eval --log_samples` writes it, or a folder with such files.

A row has doc_id, filter, metrics (names) and each metric's value under its name: lm_eval/evaluator.py. Of several metrics
the first counts; each filter is a suite of its own.
"""

from __future__ import annotations

from pathlib import Path

from dipo_eval.errors import UserError
from dipo_openrlhf.compare.finished.scores import Finished, Reader, averaged, json_rows, score_in


def _files(path: Path) -> list[Path]:
    """Of each task the newest file: the time is in the name."""
    if path.is_file():
        return [path] if path.name.startswith("samples_") and path.suffix == ".jsonl" else []
    newest: dict[str, Path] = {}
    for one in sorted(path.rglob("samples_*.jsonl"), key=lambda one: one.name):
        newest[_task(one)] = one
    return list(newest.values())


def _task(path: Path) -> str:
    return path.stem.removeprefix("samples_").rsplit("_", 1)[0]


def _read(path: Path) -> list[Finished]:
    found = []
    for file in _files(path):
        samples: dict[str, list[tuple[str, float]]] = {}
        for number, row in json_rows(file):
            where = f"{file}:{number}"
            metrics = row.get("metrics")
            if not isinstance(metrics, list) or not metrics or "doc_id" not in row:
                raise UserError(f"{where}: has no doc_id and metrics, so it is no sample of lm-eval's")
            metric = str(metrics[0])
            score = score_in(row.get(metric), f"{where}: {metric}")
            samples.setdefault(str(row.get("filter", "none")), []).append((str(row["doc_id"]), score))
        for name, scored in samples.items():
            suite = _task(file) if name == "none" else f"{_task(file)}/{name}"
            found.append(averaged(suite, scored, file))
    return found


READER = Reader("lm-eval", lambda path: bool(_files(path)), _read)
