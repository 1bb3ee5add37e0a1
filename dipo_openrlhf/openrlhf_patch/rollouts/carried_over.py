"""Samples generated beyond a batch, saved with the checkpoint of the step that the batch trained.

With rollout.vllm_generate_batch_size above rollout.batch_size, OpenRLHF serves what is too much in later steps
(samples_generator.py:90), and loses it at a resume: the data loader's saved position is already past those prompts.

    <ckpt>/_actor/global_step7/dipo_carried_over.pt

One file and not a part of the client state, of which DeepSpeed writes one copy a rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from openrlhf.trainer.ppo_utils.experience import Experience

from dipo_openrlhf.record.checkpoints import tag_of

FILE = "dipo_carried_over.pt"


@dataclass(frozen=True)
class CarriedOverSamples:
    """samples: in the order in which they are to be served. exhausted: the episode's prompts are all drawn."""

    samples: list[dict[str, Any]]
    exhausted: bool


def pack(samples: Sequence[Experience], exhausted: bool) -> CarriedOverSamples:
    """Of a generator's buffer. Plain values: the file can be read without trusting it (torch.load, weights_only)."""
    plain = [{part.name: getattr(sample, part.name) for part in fields(Experience)} for sample in samples]
    return CarriedOverSamples(plain, exhausted)


def unpack(carried_over: CarriedOverSamples) -> list[Experience]:
    return [Experience(**values) for values in carried_over.samples]


def path_of(ckpt_path: Path, step: int) -> Path:
    return ckpt_path / "_actor" / tag_of(step) / FILE


def save(ckpt_path: Path, step: int, carried_over: CarriedOverSamples | None) -> None:
    """Write the file into the step's folder, which DeepSpeed has made; of an earlier save of it nothing stays."""
    path = path_of(ckpt_path, step)
    path.unlink(missing_ok=True)
    if carried_over is not None and carried_over.samples:
        torch.save({"samples": carried_over.samples, "exhausted": carried_over.exhausted}, path)


def load(ckpt_path: Path, step: int) -> CarriedOverSamples | None:
    """What was saved with the step, or None."""
    path = path_of(ckpt_path, step)
    if not path.exists():
        return None
    return CarriedOverSamples(**torch.load(path, map_location="cpu", weights_only=True))
