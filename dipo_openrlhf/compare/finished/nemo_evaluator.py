"""NeMo Evaluator's results.jsonl, or the folder or bundle beside which it lies.

A row has problem_idx and reward, and repeat where a problem was asked several times:
https://docs.nvidia.com/nemo/evaluator/evaluation/result-format
"""

from __future__ import annotations

from pathlib import Path

from dipo_eval.errors import UserError
from dipo_openrlhf.compare.finished.scores import Finished, Reader, averaged, json_rows, score_in

FILE = "results.jsonl"


def _file(path: Path) -> Path | None:
    if path.is_dir():
        return path / FILE if (path / FILE).is_file() else None
    if path.name.startswith("eval-") and path.suffix == ".json":
        return path.with_name(FILE) if path.with_name(FILE).is_file() else None
    return path if path.name == FILE and path.is_file() else None


def _suite(path: Path) -> str:
    """The benchmark by the bundle's name, eval-TIME-BENCHMARK.json; else "nemo"."""
    bundles = sorted(path.parent.glob("eval-*.json"))
    parts = bundles[-1].stem.split("-", 2) if bundles else []
    return parts[2] if len(parts) == 3 else "nemo"


def _read(path: Path) -> list[Finished]:
    file = _file(path)
    assert file is not None
    samples = []
    for number, row in json_rows(file):
        if "problem_idx" not in row or "reward" not in row:
            raise UserError(
                f"{file}:{number}: has no problem_idx and reward, so it is none of NeMo Evaluator's"
            )
        samples.append((str(row["problem_idx"]), score_in(row["reward"], f"{file}:{number}: reward")))
    return [averaged(_suite(file), samples, file)]


READER = Reader("NeMo Evaluator", lambda path: _file(path) is not None, _read)
