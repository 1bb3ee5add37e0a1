"""`watch:` of a recipe: how checkpoints are evaluated beside the training (docs/watch.md)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class WatchSection(BaseModel):
    """`watch:` the watcher that `dipo train` starts where `evaluate.suites` names something."""

    model_config = ConfigDict(extra="forbid", strict=True)

    enabled: bool = Field(True, description="Start a watcher with the training; false: `dipo watch` by hand.")
    when: Literal["during", "after"] = Field(
        "during",
        description="during: beside the training. after: when it has ended, for a machine whose cores it needs itself.",
    )
    wait: bool = Field(
        False, description="The training waits after each save until that checkpoint is evaluated."
    )
    wait_timeout: int = Field(
        3600, ge=1, description="Seconds the training waits for one evaluation before it goes on without."
    )
    every: int = Field(1, ge=1, description="Evaluate every N-th checkpoint, and always the last.")
    order: Literal["oldest", "newest"] = Field("oldest", description="Which of a backlog is evaluated first.")
    best: str = Field(
        "", description="SUITE or SUITE:METRIC that marks the best; the first suite's accuracy if empty."
    )
    attempts: int = Field(2, ge=1, description="Attempts at a checkpoint whose evaluation fails.")
    deadline: int = Field(7200, ge=1, description="Seconds the evaluation of one checkpoint may take.")
    finish_timeout: int = Field(
        7200, ge=0, description="Seconds `dipo train` waits at its end for the evaluations that are left."
    )
    nice: int = Field(10, ge=0, le=19, description="How much the watcher gives way on a shared machine.")
    num_gpus: float = Field(
        1.0,
        ge=0,
        description="GPUs that the watcher asks Ray for, in a GPU run; 0: a plain process on this machine.",
    )
    num_cpus: float = Field(1.0, ge=0, description="CPU cores that it asks Ray for, in a GPU run.")
    ray: bool = Field(
        True, description="In a GPU run: run the watcher as a Ray task; false: as a plain process here."
    )
