"""Writes metrics.jsonl and rollouts.jsonl, step by step, beside OpenRLHF's own loggers.

OpenRLHF logs to wandb only when a key is passed as an argument, and a key must never be one. These files need no
service, survive a crash, and are what the progress bar, the board and the tests read (dipo_eval.files.step_log).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from dipo_eval.files.step_log import METRICS, ROLLOUTS
from dipo_eval.files.step_log import read_metrics as read_metrics
from dipo_eval.results import not_finite

_LONGEST_LINE = 1 << 20  # bytes looked back for the end of a line


@dataclass(frozen=True)
class Rollouts:
    """One batch by prompt group: prompts [P]; correct, rewards, log_ppl (nats a token) [P, G]; fired [P]."""

    prompts: list[str]
    correct: torch.Tensor
    rewards: torch.Tensor
    log_ppl: torch.Tensor
    fired: torch.Tensor


def plain(value: Any) -> Any:
    """A JSON value: tensors become numbers, NaN and infinity become null, other objects are left out."""
    value = _scalar(value)
    if not_finite.kind(value):
        return None
    return value if isinstance(value, bool | int | float | str) or value is None else None


def _scalar(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.item() if value.numel() == 1 else None
    return value


def append_metrics(run_dir: Path, step: int, status: dict[str, Any]) -> None:
    """Append one step. What was not a number is null, and named under dipo_eval.results.not_finite.KEY."""
    row: dict[str, Any] = {"step": step, "time": round(time.time(), 3)}
    row.update({key: plain(value) for key, value in sorted(status.items()) if key != "generated_samples"})
    kinds = {key: kind for key, value in sorted(status.items()) if (kind := not_finite.kind(_scalar(value)))}
    if kinds:
        row[not_finite.KEY] = kinds
    _append(run_dir / METRICS, [json.dumps(row)])


def append_rollouts(run_dir: Path, step: int, rollouts: Rollouts) -> None:
    """Append the step's groups, one line a group: what DiPO's decisions can be recomputed from."""
    lines = []
    for index, prompt in enumerate(rollouts.prompts):
        row = {
            "step": step,
            "group": index,
            "prompt": hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:12],
            "correct": rollouts.correct[index].int().tolist(),
            "rewards": [round(value, 6) for value in rollouts.rewards[index].tolist()],
            "log_ppl": [None if math.isnan(p) else round(p, 7) for p in rollouts.log_ppl[index].tolist()],
            "fired": bool(rollouts.fired[index]),
        }
        lines.append(json.dumps(row))
    _append(run_dir / ROLLOUTS, lines)


def _append(path: Path, lines: list[str]) -> None:
    with open(path, "ab+") as file:
        _drop_half_line(file)
        file.write("".join(line + "\n" for line in lines).encode())


def _drop_half_line(file: BinaryIO) -> None:
    """Truncate what a killed run was writing: the next line would be joined to it, and both lost."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _LONGEST_LINE))
    tail = file.read()
    if tail and not tail.endswith(b"\n"):
        file.truncate(size - len(tail) + tail.rfind(b"\n") + 1)
