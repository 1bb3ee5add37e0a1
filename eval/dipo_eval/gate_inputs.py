"""What a gate compares: its limits (YAML), and the stored samples of two checkpoints, checked to be comparable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dipo_eval.comparable import check_may_differ, differences, made_with, refusal, version_differences
from dipo_eval.errors import UserError
from dipo_eval.gate import Scores, SuiteGate, compare_suite, infrastructure
from dipo_eval.results import is_safe_name, load_complete
from dipo_eval.stored_checks import shown
from dipo_eval.yaml_file import read_yaml

_UNLESS = ", or name what may differ under may_differ in the gate's YAML (--config)"


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
    may_differ: list[str] = Field(
        default_factory=list, description="Settings that need not agree, such as engine; they are shown."
    )

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
        config = GateConfig.model_validate({} if content is None else content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {key}: {shown(first.get('input'))}: {first['msg']}") from None
    try:
        check_may_differ(config.may_differ)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    for name in config.suites:
        if not is_safe_name(name):
            raise UserError(f"{path}: suites.{shown(name)}: is no name of a suite")
    return config


def find_checkpoint(results: Path, name: str) -> CheckpointRef:
    """RUN/CHECKPOINT, or CHECKPOINT where only one run has it. Raises UserError naming what there is.

    Folders count, whatever is in them: a result that cannot be read is then named, not overlooked.
    """
    if not results.is_dir():
        kind = "is a file; name the folder of the results" if results.exists() else "no such folder"
        raise UserError(f"{results}: {kind}; `dipo eval ... --results FOLDER` writes one")
    known = [path.parts[-2:] for path in sorted(results.glob("*/*/")) if not path.parent.name.startswith(".")]
    found = [pair for pair in known if name in ("/".join(pair), pair[1])]
    if len(found) == 1:
        return CheckpointRef(results, *found[0])
    listed = ", ".join("/".join(pair) for pair in (found or known)[:8]) or "none"
    if found:
        raise UserError(f"{results}: {name!r} is in several runs: give one of {listed}")
    raise UserError(f"{results}: no evaluated checkpoint {name!r}; there is: {listed}")


def compare_checkpoints(
    candidate: CheckpointRef, baseline: CheckpointRef, config: GateConfig
) -> list[SuiteGate]:
    """One SuiteGate a suite, not yet corrected for their number. Never raises for a suite that cannot be judged."""
    names = list(config.suites) or sorted({*_suites(candidate), *_suites(baseline)})
    return [_compare(suite, candidate, baseline, config) for suite in names]


def _suites(checkpoint: CheckpointRef) -> list[str]:
    folder = checkpoint.results / checkpoint.run / checkpoint.checkpoint
    try:
        return [path.name for path in folder.iterdir() if path.is_dir()]
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror})") from None


def _compare(suite: str, candidate: CheckpointRef, baseline: CheckpointRef, config: GateConfig) -> SuiteGate:
    margin = config.margin_of(suite)
    results: list[dict[str, Any]] = []
    scores: list[Scores] = []
    for who, ref in (("candidate", candidate), ("baseline", baseline)):
        try:
            result, rows = load_complete(ref.suite(suite))
        except UserError as error:
            return infrastructure(suite, f"the {who} {ref.name} has no whole result: {error}", margin)
        undecided = sum(row["status"] == "undecided" for row in rows) / len(rows)
        if undecided > config.max_undecided:
            reason = f"the grader left {undecided:.1%} of the {who}'s samples undecided: grade them again"
            return infrastructure(suite, reason, margin)
        results.append(result)
        scores.append(_scores(rows))
    found = differences(made_with(results[0]), made_with(results[1]))
    problem = refusal(
        found, config.may_differ, sides=("for the candidate", "for the baseline"), unless=_UNLESS
    )
    if problem:
        return infrastructure(suite, problem, margin)
    try:
        gate = compare_suite(suite, scores[0], scores[1], margin, config.confidence)
    except ValueError as error:
        return infrastructure(suite, str(error), margin)
    return replace(gate, differing=(*found, *version_differences(results[0], results[1])))


def _scores(rows: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    scores: dict[str, list[float]] = {}
    for row in rows:
        scores.setdefault(row["item_id"], []).append(float(row["status"] == "correct"))
    return scores
