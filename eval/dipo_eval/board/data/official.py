"""Other harnesses' scores of a result's samples: official_<harness>.json, written by `dipo eval --with`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipo_eval.board import numbers
from dipo_eval.board.data.stored import SampleKey, number, row_key, whole
from dipo_eval.files.bounded_file import MAX_RESULT, read_limited
from dipo_eval.results.stored_checks import LONGEST_NAME, parse_json


@dataclass(frozen=True)
class OfficialMetric:
    """`value` in [0, 1]; `ours` and `differ` (samples scored otherwise) are None where we have no such metric."""

    value: float
    n: int | None
    ours: float | None
    differ: int | None


@dataclass(frozen=True)
class Official:
    """One harness on one result. `disagreements`: sample -> (metric, its score and reason) of each score unlike ours."""

    harness: str
    version: str
    metrics: dict[str, OfficialMetric]
    disagreements: dict[SampleKey, list[tuple[str, str]]]

    def scores(self) -> dict[str, OfficialMetric]:
        """By short name: the metrics over all samples that have a counterpart of ours, else all."""
        ours = {name: m for name, m in self.metrics.items() if m.ours is not None and "/" not in name}
        return {f"{self.harness} {name.rpartition(',')[2]}": m for name, m in (ours or self.metrics).items()}


def read_official(folder: Path, samples_sha256: str) -> tuple[list[Official], list[str]]:
    """Every harness's scores in a folder, and a line for each file that is unreadable or of other samples."""
    found: list[Official] = []
    problems: list[str] = []
    for path in sorted(folder.glob("official_*.json")):
        try:
            data = parse_json(read_limited(path, MAX_RESULT))
            if not isinstance(data, dict) or data.get("schema") != 1:
                raise ValueError("not of schema 1")
        except (OSError, ValueError) as error:
            problems.append(f"{path.name} could not be read and is left out: {error}")
            continue
        if data.get("samples_sha256") != samples_sha256:
            problems.append(f"{path.name} is of other samples and is left out: run `dipo eval --with` again")
            continue
        found.append(_parse(data))
    return found, problems


def _parse(data: dict[str, Any]) -> Official:
    rows = data.get("disagreements")
    disagreements: dict[SampleKey, list[tuple[str, str]]] = {}
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict):
            disagreements.setdefault(row_key(row), []).append((str(row.get("metric")), _score(row)))
    harness, version = (str(data.get(name))[:LONGEST_NAME] for name in ("harness", "version"))
    return Official(harness, version, _metrics(data.get("metrics")), disagreements)


def _metrics(stored: Any) -> dict[str, OfficialMetric]:
    metrics = {}
    for name, raw in stored.items() if isinstance(stored, dict) else ():
        value = number(raw.get("value")) if isinstance(raw, dict) else None
        if value is not None and len(name) <= LONGEST_NAME:
            ours, differ = number(raw.get("ours")), whole(raw.get("disagreements"))
            metrics[str(name)] = OfficialMetric(value, whole(raw.get("n")), ours, differ)
    return metrics


def _score(row: dict[str, Any]) -> str:
    """The harness's score of a sample in words, with its reason."""
    theirs = number(row.get("theirs"))
    words = {None: "undecided", 0.0: "wrong", 1.0: "correct"}
    score = words.get(theirs) or numbers.plain(theirs)
    reason = row.get("their_reason")
    return f"{score}: {reason}" if reason else score
