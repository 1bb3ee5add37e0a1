"""Replay stored rollouts under other switches: how often would DiPO have acted?

`rollouts.jsonl` holds correctness, reward and log-perplexity of every response, which is all that DiPO's decisions
depend on. So every value of a switch can be compared on the same rollouts, in seconds and without a model. A replay
cannot show how training would have continued.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dipo_eval.errors import UserError
from dipo_eval.files.step_log import METRICS, ROLLOUTS, drop_superseded
from dipo_eval.suites.data_file import parse_line
from dipo_openrlhf.algorithm import DipoConfig, PerplexityQueue, reallocation_advantages
from dipo_openrlhf.algorithm.fire_rate import FireRate, fire_rate
from dipo_openrlhf.recipe.yaml_lines import stored_settings

_KEYS = ("step", "group", "correct", "rewards", "log_ppl")


@dataclass(frozen=True)
class StepRollouts:
    """One step's groups: correct[P, G] bool; rewards, log_ppl[P, G], NaN without action tokens."""

    step: int
    correct: torch.Tensor
    rewards: torch.Tensor
    log_ppl: torch.Tensor


def read_rollouts(path: Path) -> list[StepRollouts]:
    """All steps of a rollouts.jsonl in order, each once: a resume writes steps again and voids the later ones.

    Raises UserError naming file and line for a row that is not one of ours, or groups of unequal size. A broken
    last line is what a killed run leaves, and is skipped.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; `dipo train` writes {ROLLOUTS} into the run's folder")
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [
        _row(line, f"{path}:{n}", last=n == len(lines)) for n, line in enumerate(lines, 1) if line.strip()
    ]
    steps: dict[int, dict[int, dict[str, Any]]] = {}
    for row in drop_superseded((row for row in rows if row is not None), ("step", "group")):
        steps.setdefault(row["step"], {})[row["group"]] = row
    if not steps:
        raise UserError(f"{path}: holds no rollouts")
    return [_tensors(step, groups, path) for step, groups in steps.items()]


def _row(line: str, place: str, last: bool) -> dict[str, Any] | None:
    try:
        row = parse_line(line, place)
    except UserError:
        if last:
            return None
        raise
    missing = [key for key in _KEYS if not isinstance(row, dict) or key not in row]
    if missing:
        raise UserError(f"{place}: no key {missing[0]!r}; is this a {ROLLOUTS} of `dipo train`?")
    return dict(row)


def _tensors(step: int, groups: dict[int, dict[str, Any]], path: Path) -> StepRollouts:
    rows = [groups[index] for index in sorted(groups)]
    sizes = {len(row[key]) for row in rows for key in ("correct", "rewards", "log_ppl")}
    if len(sizes) != 1:
        raise UserError(f"{path}: step {step}: groups of unequal size {sorted(sizes)}")
    log_ppl = [[math.nan if p is None else p for p in row["log_ppl"]] for row in rows]
    return StepRollouts(
        step,
        torch.tensor([row["correct"] for row in rows]).bool(),
        torch.tensor([row["rewards"] for row in rows], dtype=torch.float32),
        torch.tensor(log_ppl, dtype=torch.float32),
    )


def replay(steps: list[StepRollouts], config: DipoConfig) -> FireRate:
    """How often DiPO acts on these rollouts with these switches, the queue filled as in training."""
    queue = PerplexityQueue(config.queue_batches)
    return fire_rate(
        [
            reallocation_advantages(step.rewards, step.correct, step.log_ppl, config, queue).metrics
            for step in steps
        ]
    )


def compare_values(
    steps: list[StepRollouts], config: DipoConfig, key: str = "group_space"
) -> dict[str, FireRate]:
    """The fire rate of every value of one switch, the others as in `config`. Raises UserError for a bad key."""
    if key not in DipoConfig.CHOICES:
        raise UserError(f"dipo.{key}: has no list of values; choose one of {', '.join(DipoConfig.CHOICES)}")
    if key == "normalizer":
        raise UserError("dipo.normalizer: decides how much an act weighs, not whether DiPO acts")
    switches = config.to_dict()
    return {
        value: replay(steps, DipoConfig.from_dict({**switches, key: value}))
        for value in DipoConfig.CHOICES[key]
    }


def stored_config(rollouts: Path) -> DipoConfig:
    """The switches of the run that a rollouts.jsonl belongs to, from recipe.yaml beside it; else the defaults.

    The normalizer is set to shared: the file holds no token counts, and the normalizer decides nothing here.
    """
    recipe = rollouts.parent / "recipe.yaml"
    if not recipe.is_file() or not (rollouts.parent / METRICS).is_file():
        return DipoConfig()
    settings = stored_settings(recipe)
    mine = {key.removeprefix("dipo."): value for key, value in settings.items() if key.startswith("dipo.")}
    try:
        return DipoConfig.from_dict({**mine, "method": "dipo", "normalizer": "shared"})
    except ValueError as error:
        raise UserError(f"{recipe}: {error}") from None
