"""What a gate compares: its limits (YAML), and the stored samples of two checkpoints, checked to be comparable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dipo_eval.errors import UserError
from dipo_eval.gate import Scores, SuiteGate, compare_suite, infrastructure
from dipo_eval.results import iter_results, read_result, read_samples
from dipo_eval.yaml_file import read_yaml

# Settings that change what a model answers; a comparison across them would measure the settings.
_MUST_AGREE = ("temperature", "top_p", "max_new_tokens", "prompt_form")


class SuiteLimits(BaseModel):
    """`suites.NAME:` of a gate's YAML."""

    model_config = ConfigDict(extra="forbid", strict=True)

    margin: float | None = Field(
        None, gt=0, lt=1, description="Largest drop that passes, a share: 0.01 is one point."
    )


class GateConfig(BaseModel):
    """A gate's YAML. With `suites`, exactly those are compared, and a missing one is an error."""

    model_config = ConfigDict(extra="forbid", strict=True)

    margin: float = Field(0.01, gt=0, lt=1, description="Largest drop that passes where a suite names none.")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="One-sided confidence of every decision.")
    max_undecided: float = Field(
        0.05, ge=0, le=1, description="Share of undecided verdicts above which a suite cannot be judged."
    )
    suites: dict[str, SuiteLimits] = Field(default_factory=dict, description="Suite -> its own limits.")

    def margin_of(self, suite: str) -> float:
        """The suite's own margin, else the general one."""
        own = self.suites.get(suite)
        return self.margin if own is None or own.margin is None else own.margin


@dataclass(frozen=True)
class CheckpointRef:
    """One evaluated checkpoint in a results folder."""

    results: Path
    run: str
    checkpoint: str

    @property
    def name(self) -> str:
        return f"{self.run}/{self.checkpoint}"

    def suite(self, suite: str) -> Path:
        return self.results / self.run / self.checkpoint / suite


def read_config(path: Path | None) -> GateConfig:
    """The YAML, or the defaults without one. Raises UserError naming file and key."""
    if path is None:
        return GateConfig.model_validate({})
    content = read_yaml(path)
    try:
        return GateConfig.model_validate(content or {})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {key}: {first.get('input')!r}: {first['msg']}") from None


def find_checkpoint(results: Path, name: str) -> CheckpointRef:
    """RUN/CHECKPOINT, or CHECKPOINT where only one run has it. Raises UserError naming what there is."""
    if not results.is_dir():
        raise UserError(f"{results}: no such folder; `dipo eval ... --results {results}` writes one")
    known = list(dict.fromkeys((r["run"], r["checkpoint"]) for _, r in iter_results(results)))
    found = [pair for pair in known if name in ("/".join(pair), pair[1])]
    if len(found) == 1:
        return CheckpointRef(results, *found[0])
    shown = ", ".join("/".join(pair) for pair in (found or known)[:8]) or "none"
    if found:
        raise UserError(f"{results}: {name!r} is in several runs: give one of {shown}")
    raise UserError(f"{results}: no evaluated checkpoint {name!r}; there is: {shown}")


def compare_checkpoints(
    candidate: CheckpointRef, baseline: CheckpointRef, config: GateConfig
) -> list[SuiteGate]:
    """One SuiteGate a suite, not yet corrected for their number. Never raises for a suite that cannot be judged."""
    names = list(config.suites) or sorted({*_suites(candidate), *_suites(baseline)})
    return [_compare(suite, candidate, baseline, config) for suite in names]


def _suites(checkpoint: CheckpointRef) -> list[str]:
    folder = checkpoint.results / checkpoint.run / checkpoint.checkpoint
    return [path.name for path in folder.iterdir() if path.is_dir()]


def _compare(suite: str, candidate: CheckpointRef, baseline: CheckpointRef, config: GateConfig) -> SuiteGate:
    margin = config.margin_of(suite)
    results: list[dict[str, Any]] = []
    scores: list[Scores] = []
    for who, ref in (("candidate", candidate), ("baseline", baseline)):
        folder = ref.suite(suite)
        result = read_result(folder)
        if result is None:
            return infrastructure(suite, f"the {who} {ref.name} has no whole result for this suite", margin)
        try:
            rows = read_samples(folder)
        except UserError as error:
            return infrastructure(suite, str(error), margin)
        undecided = sum(row["status"] == "undecided" for row in rows) / len(rows)
        if undecided > config.max_undecided:
            reason = f"the grader left {undecided:.1%} of the {who}'s samples undecided: grade them again"
            return infrastructure(suite, reason, margin)
        results.append(result)
        scores.append(_scores(rows))
    problem = _incomparable(*results)
    if problem:
        return infrastructure(suite, problem, margin)
    try:
        return compare_suite(suite, scores[0], scores[1], margin, config.confidence)
    except ValueError as error:
        return infrastructure(suite, str(error), margin)


def _scores(rows: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    scores: dict[str, list[float]] = {}
    for row in rows:
        scores.setdefault(row["item_id"], []).append(float(row["status"] == "correct"))
    return scores


def _incomparable(candidate: dict[str, Any], baseline: dict[str, Any]) -> str | None:
    """Why two results do not measure the same thing, or None."""
    if candidate["hashes"]["items_sha256"] != baseline["hashes"]["items_sha256"]:
        return "candidate and baseline were given other items (limit, seed or data): evaluate them alike"
    if candidate["hashes"]["suite_hash"] != baseline["hashes"]["suite_hash"]:
        return "candidate and baseline were graded by other versions of the grader: run `dipo eval` on both again"
    for key in _MUST_AGREE:
        ours, theirs = candidate["settings"].get(key), baseline["settings"].get(key)
        if ours != theirs:
            return f"{key} is {ours!r} for the candidate and {theirs!r} for the baseline: evaluate them alike"
    return None
