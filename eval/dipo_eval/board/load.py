"""Read a results folder: one `Result` for each <run>/<checkpoint>/<suite>/results.json.

A file that cannot be read is a `problem` that the page shows, not a crash: one torn file of a running
evaluation must not hide forty good ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

import zstandard

SCHEMA = 1
STATUSES = ("correct", "wrong", "undecided")
SampleKey = tuple[str, int]
"""(item id, index of the sample among that item's samples)."""


@dataclass(frozen=True)
class Metric:
    """One number of results.json. `value`, `low`, `high`: shares in [0, 1]; `n` items, `k` samples each."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    k: int | None = None
    interval: str | None = None


@dataclass(frozen=True)
class Result:
    """What one checkpoint did on one suite. `statuses` maps each stored sample to its verdict's status."""

    run: str
    checkpoint: str
    suite: str
    step: int | None
    n_items: int | None
    n_samples_per_item: int | None
    metrics: dict[str, Metric]
    counts: dict[str, int]
    details: dict[str, dict[str, Any]]
    created: str
    folder: Path
    statuses: dict[SampleKey, str] = field(default_factory=dict)

    @property
    def model_key(self) -> tuple[str, str]:
        """(run, checkpoint): what is compared with a baseline."""
        return (self.run, self.checkpoint)

    @property
    def accuracy(self) -> Metric | None:
        """The suite's main number, None where the suite reports none."""
        return self.metrics.get("accuracy")

    @cached_property
    def item_scores(self) -> dict[str, float]:
        """Item id -> share of its samples that are correct, in [0, 1]."""
        hits: dict[str, list[bool]] = {}
        for (item, _), status in self.statuses.items():
            hits.setdefault(item, []).append(status == "correct")
        return {item: sum(of_item) / len(of_item) for item, of_item in hits.items()}


def load_results(results_dir: Path) -> tuple[list[Result], list[str]]:
    """Every result under `results_dir`, in `sort_key` order, and the problems met.

    A folder that does not exist holds no results. Problems are one line each, with the file's path relative
    to `results_dir`.
    """
    results: list[Result] = []
    problems: list[str] = []
    for path in sorted(results_dir.glob("*/*/*/results.json")):
        where = str(path.relative_to(results_dir))
        try:
            result = parse_result(json.loads(path.read_text(encoding="utf-8")), path.parent)
        except (OSError, ValueError) as error:
            problems.append(f"{where} could not be read and is left out: {error}")
            continue
        results.append(result)
        problems += [f"{where}: {problem}" for problem in _fill_statuses(result)]
    results.sort(key=sort_key)
    return results, problems


def sort_key(result: Result) -> tuple[str, str, float, str]:
    """Suite, then run, then step (checkpoints without one first), then checkpoint."""
    return (result.suite, result.run, -1.0 if result.step is None else result.step, result.checkpoint)


def parse_result(data: Any, folder: Path) -> Result:
    """A `Result` from the parsed results.json in `folder`; ValueError where it is not one of schema 1."""
    if not isinstance(data, dict):
        raise ValueError("not a JSON object")
    if data.get("schema") != SCHEMA:
        raise ValueError(f"schema is {data.get('schema')!r}, this version reads {SCHEMA}")
    checkpoint_dir = folder.parent
    return Result(
        run=str(data.get("run") or checkpoint_dir.parent.name),
        checkpoint=str(data.get("checkpoint") or checkpoint_dir.name),
        suite=str(data.get("suite") or folder.name),
        step=whole(data.get("step")),
        n_items=whole(data.get("n_items")),
        n_samples_per_item=whole(data.get("n_samples_per_item")),
        metrics=_metrics(data.get("metrics")),
        counts={str(k): n for k, v in _table(data.get("counts")).items() if (n := whole(v)) is not None},
        details={
            name: _table(data.get(name)) for name in ("model", "settings", "hashes", "versions", "seconds")
        },
        created=str(data.get("created") or ""),
        folder=folder,
    )


def read_rows(folder: Path) -> Iterator[dict[str, Any] | None]:
    """The rows of samples.jsonl or samples.jsonl.zst in `folder`; None for a line that is no JSON object."""
    plain, packed = folder / "samples.jsonl", folder / "samples.jsonl.zst"
    if plain.exists():
        with plain.open(encoding="utf-8", errors="replace", newline="\n") as stream:
            yield from _parse_lines(stream)
    elif packed.exists():
        with packed.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as reader:
            yield from _parse_lines(TextIOWrapper(reader, encoding="utf-8", errors="replace", newline="\n"))


def row_key(row: dict[str, Any]) -> SampleKey:
    """The (item id, sample) of one row of samples.jsonl."""
    return (str(row.get("item_id")), whole(row.get("sample")) or 0)


def number(value: Any) -> float | None:
    """`value` as a finite float, else None (bool, text, NaN and infinity are no numbers here)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        as_float = float(value)
    except OverflowError:
        return None
    return as_float if math.isfinite(as_float) else None


def whole(value: Any) -> int | None:
    """`value` as an int, else None."""
    as_float = number(value)
    return None if as_float is None else int(as_float)


def _fill_statuses(result: Result) -> list[str]:
    """Read the sample rows' statuses into `result`; return what was wrong with the file."""
    broken = 0
    problems: list[str] = []
    try:
        for row in read_rows(result.folder):
            if row is None or row.get("status") not in STATUSES or "item_id" not in row:
                broken += 1
            else:
                result.statuses[row_key(row)] = str(row["status"])
    except (OSError, zstandard.ZstdError) as error:
        problems.append(f"its samples could not be read to the end: {error}")
    if broken:
        problems.append(f"{broken} of its sample rows could not be read and are left out")
    return problems + _disagreement(result)


def _disagreement(result: Result) -> list[str]:
    """Recompute the accuracy from the samples: a number that they do not bear out is said on the page."""
    stated, scores = result.accuracy, result.item_scores
    if stated is None or not scores:
        return []
    recomputed = sum(scores.values()) / len(scores)
    if abs(recomputed - stated.value) <= 5e-4:
        return []
    return [f"it states an accuracy of {stated.value:.2%}, its stored samples give {recomputed:.2%}"]


def _metrics(value: Any) -> dict[str, Metric]:
    found: dict[str, Metric] = {}
    for name, raw in _table(value).items():
        fields = raw if isinstance(raw, dict) else {"value": raw}
        central = number(fields.get("value"))
        if central is None:
            continue
        found[name] = Metric(
            value=central,
            low=number(fields.get("low")),
            high=number(fields.get("high")),
            n=whole(fields.get("n")),
            k=whole(fields.get("k")),
            interval=str(fields["interval"]) if fields.get("interval") else None,
        )
    return found


def _table(value: Any) -> dict[str, Any]:
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else {}


def _parse_lines(stream: TextIO) -> Iterator[dict[str, Any] | None]:
    for line in stream:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        yield row if isinstance(row, dict) else None
