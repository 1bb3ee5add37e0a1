"""What a gate compares: the stored samples of two checkpoints, found and checked to be comparable."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError
from dipo_eval.gate.config import GateConfig
from dipo_eval.gate.verdict import Scores, SuiteGate, compare_suite, infrastructure
from dipo_eval.results.comparable import differences, made_with, refusal, version_differences
from dipo_eval.results.store import RESULTS, load_complete, read_result

_UNLESS = ", or name what may differ under may_differ in the gate's YAML (--config)"
_DEPTH = 3  # folders between a results folder and a results.json: RUN/CHECKPOINT/SUITE


@dataclass(frozen=True)
class CheckpointRef:
    """One evaluated checkpoint in a results folder."""

    results: Path
    run: str
    checkpoint: str

    @property
    def name(self) -> str:
        return f"{self.run}/{self.checkpoint}"

    @property
    def folder(self) -> Path:
        return self.results / self.run / self.checkpoint

    def suites(self) -> list[str]:
        """Names of its suites. Raises UserError where the folder cannot be read."""
        try:
            return sorted(path.name for path in self.folder.iterdir() if path.is_dir())
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be read ({error.strerror})") from None


def find_checkpoint(results: Path, name: str, option: str = "--results") -> CheckpointRef:
    """RUN/CHECKPOINT, or CHECKPOINT where only one run has it. Raises UserError naming what there is.

    Folders count whatever is in them, so that an unreadable result is reported. `option` is the one that gave `results`.
    """
    if not results.is_dir():
        kind = "is a file; name the folder of the results" if results.exists() else "no such folder"
        raise UserError(f"{results}: {kind}; `dipo eval ... --results FOLDER` writes one")
    known = [path.parts[-2:] for path in sorted(results.glob("*/*/")) if not path.parent.name.startswith(".")]
    found = [pair for pair in known if name in ("/".join(pair), pair[1])]
    usable = [pair for pair in found if not _is_suite(results.joinpath(*pair))]
    if len(usable) == 1:
        return CheckpointRef(results, *usable[0])
    if not usable:
        _refuse_other_level(results, option)
    listed = ", ".join("/".join(pair) for pair in (found or known)[:8]) or "none"
    if found:
        raise UserError(f"{results}: {name!r} is in several runs: give one of {listed}")
    raise UserError(f"{results}: no evaluated checkpoint {name!r}; there is: {listed}")


def _is_suite(folder: Path) -> bool:
    """Whether a folder holds the result of a suite of its name; it can then be no checkpoint's."""
    result = read_result(folder, verify=False)
    return result is not None and result["suite"] == folder.resolve().name


def _refuse_other_level(results: Path, option: str) -> None:
    """Raises UserError that names the results folder where the given one is inside it, or the other way round."""
    kinds = ("a suite's", "a checkpoint's", "a run's")
    for depth in (2, 1, 0):
        if any(_is_suite(path.parent) for path in results.glob("*/" * depth + RESULTS)):
            above = results / "/".join([".."] * (_DEPTH - depth))
            use = Path(os.path.normpath(above))
            if not use.exists() or not use.samefile(above):  # through a symbolic link
                use = above.resolve()
            raise UserError(f"{results}: is {kinds[depth]} folder: use {option} {use}")
    for path in results.glob("*/" * (_DEPTH + 1) + RESULTS):
        if _is_suite(path.parent):
            raise UserError(f"{results}: the results are further down: use {option} {path.parents[_DEPTH]}")


def compare_checkpoints(
    candidate: CheckpointRef, baseline: CheckpointRef, config: GateConfig
) -> tuple[list[SuiteGate], list[str]]:
    """One SuiteGate a suite, not yet corrected for their number, and notes for the reader, a line each.

    Raises UserError where both are the same result, where there is nothing to compare, and for a configuration that
    names what neither has.
    """
    if candidate.folder.resolve() == baseline.folder.resolve():
        raise UserError(
            f"--candidate and --baseline are the same result, {candidate.folder}: the gate would always pass; "
            "name another --baseline"
        )
    ours, theirs = candidate.suites(), baseline.suites()
    if not ours and not theirs:
        raise UserError(
            f"{candidate.folder} and {baseline.folder}: no suite in either; run `dipo eval` on both first"
        )
    config.check_suites({*ours, *theirs})
    names = list(config.suites) or sorted({*ours, *theirs})
    stored = [
        [read_result(ref.folder / suite, verify=False) for suite in names] for ref in (candidate, baseline)
    ]
    config.check_may_differ({name for side in stored for one in side if one for name, _ in made_with(one)})
    notes = ["candidate and baseline have the same weights"] if any(map(_same_weights, *stored)) else []
    return [_compare(suite, candidate, baseline, config) for suite in names], notes


def _same_weights(ours: dict[str, Any] | None, theirs: dict[str, Any] | None) -> bool:
    """Whether both state the same hash; a server's weights are unknown."""
    if ours is None or theirs is None or "weights" in ours["model"]:
        return False
    return bool(ours["model"]["weights_hash"] == theirs["model"]["weights_hash"])


def _compare(suite: str, candidate: CheckpointRef, baseline: CheckpointRef, config: GateConfig) -> SuiteGate:
    margin = config.margin_of(suite)
    results: list[dict[str, Any]] = []
    scores: list[Scores] = []
    for who, ref in (("candidate", candidate), ("baseline", baseline)):
        if suite not in ref.suites():
            has = f"it has: {', '.join(ref.suites())}" if ref.suites() else "it has none"
            return infrastructure(
                suite, f"the {who} {ref.name} has no such suite; {has}: evaluate it on {suite}", margin
            )
        try:
            result, rows = load_complete(ref.folder / suite)
        except UserError as error:
            return infrastructure(suite, f"the {who} {ref.name} has no complete result: {error}", margin)
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
