"""Read a results folder: one `Result` for each <run>/<checkpoint>/<suite>/results.json.

A file that cannot be read is a problem that the page lists, not a crash.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from dipo_eval.board.data.official import Official, read_official
from dipo_eval.board.data.stored import SampleKey, Samples, number, scan, whole
from dipo_eval.files.bounded_file import MAX_RESULT, read_limited
from dipo_eval.printable import spelled
from dipo_eval.results.comparable import Made, made_with
from dipo_eval.results.stored_checks import LONGEST_NAME, SCHEMA, parse_json, shown
from dipo_eval.secrets.masking import mask_values

PARTS = ("model", "settings", "hashes", "versions", "seconds")
"""Objects of results.json that the page shows as they are."""


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
    """One checkpoint on one suite. `statuses` maps each stored sample to its verdict's status.

    `offsets` has the position of each in the samples file; `official` the scores of other harnesses.
    """

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
    offsets: dict[SampleKey, int] = field(default_factory=dict)
    official: list[Official] = field(default_factory=list)

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

    @cached_property
    def made(self) -> Made:
        """What two results must share to be compared."""
        return made_with(self.details)

    def highest(self, prefix: str) -> Metric | None:
        """The metric `prefix`@k of the largest k, such as pass@8; None where there is none."""
        found = {name.partition("@")[2]: name for name in self.metrics if name.startswith(f"{prefix}@")}
        ks = [k for k in found if k.isascii() and k.isdecimal() and len(k) <= 9 and int(k)]
        return self.metrics[found[max(ks, key=int)]] if ks else None


Signature = tuple[tuple[str, int, int, int], ...]
Cache = dict[Path, tuple[Signature, Result, list[str]]]
"""What load_results read before, by folder: a served board rereads only what has changed."""


def load_results(results_dir: Path, cache: Cache | None = None) -> tuple[list[Result], list[str]]:
    """Every result under `results_dir`, by suite, run and step, and the problems, one line each.

    A folder that does not exist holds no results. `cache` is read and filled.
    """
    results: list[Result] = []
    problems: list[str] = []
    known: Cache = {} if cache is None else cache
    names: dict[SampleKey, SampleKey] = {}
    for path in sorted(results_dir.glob("*/*/*/results.json")):
        where = str(path.relative_to(results_dir))
        try:
            files = signature(path.parent)
            if path.parent not in known or known[path.parent][0] != files:
                known[path.parent] = (files, *_read(path, names))
        except (OSError, ValueError) as error:
            known.pop(path.parent, None)
            problems.append(f"{where} could not be read and is left out: {error}")
            continue
        _, result, found = known[path.parent]
        results.append(result)
        problems += [f"{where}: {problem}" for problem in found]
    # Checkpoints without a step come first.
    results.sort(key=lambda one: (one.suite, one.run, -1.0 if one.step is None else one.step, one.checkpoint))
    return results, problems


def signature(folder: Path) -> Signature:
    """Name, time, size and inode of a result's files; a change means that it must be read again."""
    patterns = ("results.json", "samples.jsonl*", "official_*.json")
    files = [(path, path.stat()) for pattern in patterns for path in sorted(folder.glob(pattern))]
    return tuple((path.name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for path, stat in files)


def _read(path: Path, names: dict[SampleKey, SampleKey]) -> tuple[Result, list[str]]:
    """The result of one results.json, and the problems of the files beside it; ValueError where it is invalid."""
    data = parse_json(read_limited(path, MAX_RESULT))
    result = parse_result(data, path.parent)
    samples = scan(path.parent, names)
    official, problems = read_official(path.parent, samples.sha256)
    result = replace(result, statuses=samples.statuses, offsets=samples.offsets, official=official)
    return result, [*_missing(data, result), *_sample_problems(samples, result), *problems]


def _missing(data: dict[str, Any], result: Result) -> Iterator[str]:
    """What a results.json of this schema lacks, and which of its metrics cannot be shown."""
    needed = ("settings", "hashes", "metrics", "model")
    if missing := [part for part in needed if not isinstance(data.get(part), dict)]:
        yield f"has no {' and no '.join(missing)}"
    if names := [name for name in _table(data.get("metrics")) if name not in result.metrics]:
        listed = ", ".join(shown(name) for name in names[:3]) + (", ..." if len(names) > 3 else "")
        yield f"metrics without a number or with too long a name are left out: {listed}"


def _sample_problems(samples: Samples, result: Result) -> Iterator[str]:
    """Rows that cannot be read, other samples than stated, and an accuracy that the samples contradict."""
    hashed = result.details["hashes"].get("samples_sha256")
    if samples.error:
        yield f"its samples could not be read to the end: {samples.error}"
    if samples.broken:
        yield f"{samples.broken} of its sample rows could not be read and are left out ({samples.first})"
    elif not samples.error and hashed and samples.sha256 and hashed != samples.sha256:
        yield "its stored samples are not those that it was made from: evaluate this checkpoint again"
    stated, scores = result.accuracy, result.item_scores
    if stated is not None and scores:
        recomputed = sum(scores.values()) / len(scores)
        if abs(recomputed - stated.value) > 5e-4:
            yield f"it states an accuracy of {stated.value:.2%}, its stored samples give {recomputed:.2%}"


def parse_result(data: Any, folder: Path) -> Result:
    """A `Result` from the parsed results.json in `folder`; ValueError where it is not one of schema 1."""
    if not isinstance(data, dict):
        raise ValueError("not a JSON object")
    if data.get("schema") != SCHEMA:
        raise ValueError(f"schema is {data.get('schema')!r}, this version reads {SCHEMA}")
    return Result(
        run=_name(data.get("run"), folder.parents[1].name),
        checkpoint=_name(data.get("checkpoint"), folder.parent.name),
        suite=_name(data.get("suite"), folder.name),
        step=whole(data.get("step")),
        n_items=whole(data.get("n_items")),
        n_samples_per_item=whole(data.get("n_samples_per_item")),
        metrics=_metrics(data.get("metrics")),
        counts={str(k): n for k, v in _table(data.get("counts")).items() if (n := whole(v)) is not None},
        details={part: mask_values(_table(data.get(part))) for part in PARTS},
        created=_name(data.get("created"), ""),
        folder=folder,
    )


def _name(value: Any, otherwise: str) -> str:
    """A string that fits into a heading, else `otherwise`; what is hidden in it is spelled out."""
    return spelled(value if isinstance(value, str) and 0 < len(value) <= LONGEST_NAME else otherwise)


def _metrics(value: Any) -> dict[str, Metric]:
    found: dict[str, Metric] = {}
    for name, raw in _table(value).items():
        fields = raw if isinstance(raw, dict) else {"value": raw}
        central, low, high = (number(fields.get(key)) for key in ("value", "low", "high"))
        n, k, interval = (
            whole(fields.get("n"), 0),
            whole(fields.get("k"), 1),
            _name(fields.get("interval"), ""),
        )
        if central is not None and len(name) <= LONGEST_NAME:
            found[name] = Metric(central, low, high, n, k, interval or None)
    return found


def _table(value: Any) -> dict[str, Any]:
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else {}
