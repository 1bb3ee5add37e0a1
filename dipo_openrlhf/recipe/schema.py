"""The typed sections of a recipe that are this project's own: `run`, `evaluate` and `watch`; imports nothing of ours.

`dipo` is `dipo_openrlhf.algorithm.DipoConfig`; every other key is an argument of OpenRLHF (load.py).
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

DEFAULT_MAX_UNDECIDED_RATE = 0.2


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class RunSection(_Section):
    """`run:` where a run lives and what it runs on."""

    name: str = ""
    """Name of the run on the board; the recipe's file name if empty."""
    dir: str = ""
    """Folder of the run; runs/<name> if empty."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """auto: cpu when this machine has no NVIDIA device. gpu: also from a head node without one."""
    nodes: int = Field(0, ge=0)
    """Nodes of the cluster that the recipe is sized for: it is refused where it does not fit, and vllm.num_engines, left
    out, is what fits. 0: unknown, nothing is checked."""
    gpus_per_node: int = Field(8, ge=1)
    """GPUs of each of run.nodes."""
    ray: Literal["auto", "cluster"] = "auto"
    """auto: on CPU a Ray of the run's own, on GPUs as OpenRLHF does. cluster: join the Ray cluster of RAY_ADDRESS, else
    of this machine, as `dipo submit` does; never stop it."""
    cpu_threads: int = Field(0, ge=0)
    """OpenMP threads of each process on CPU; 0: all cores of the machine."""
    save_rollouts: bool = True
    """Write rollouts.jsonl: correctness, reward and log-perplexity of every response."""
    dump_experiences: bool = False
    """Write experiences/step_N.pt: complete training batches, token by token; large."""
    seeded_rollouts: Literal["auto", "on", "off"] = "auto"
    """on: every response comes from a seed made from train.seed and the prompt's place in the data, so that a resumed run
    equals an uninterrupted one; on GPUs vLLM then samples more slowly. auto: on CPU."""
    max_restarts: int = Field(0, ge=0)
    """How often a failed run (a dead engine, actor or node, a hang) restarts from its last complete checkpoint."""
    wandb: Literal["auto", "on", "off"] = "auto"
    """auto: when WANDB_API_KEY or WANDB_MODE is set. The key is never an argument or a recipe's value."""
    max_undecided_rate: float = Field(DEFAULT_MAX_UNDECIDED_RATE, ge=0, le=1)
    """Share of a step's samples that the verifier may leave undecided (time limit, error) before the run is ended, since
    it would train on noise; 1: never."""
    keep_exports: int | None = Field(None, ge=0)
    """Hugging Face exports kept, of which ckpt.max_num can be resumed from; 0: all; empty: as many as ckpt.max_num. The
    best one by evaluation is always kept."""
    start_timeout: int = Field(900, ge=30)
    """Seconds that models and engines may take to start before the run is ended."""
    step_timeout: int = Field(3600, ge=30)
    """Seconds one training step may take before the run is ended as hanging."""


class EvaluateSection(_Section):
    """`evaluate:` what every checkpoint is measured on."""

    suites: list[str] = Field(default_factory=list)
    """Names from `dipo eval --list`."""
    data_dir: str = ""
    """Folder of the suites' JSON-lines files; DIPO_DATA_DIR if empty."""
    engine: Literal["vllm", "hf"] = "vllm"
    """What generates, as in `dipo eval`."""
    samples: int = Field(1, ge=1)
    """Samples per item; 1 is greedy unless temperature is set."""
    limit: int | None = Field(None, ge=1)
    """N items of each suite, as `dipo eval --limit` draws them."""
    temperature: float = Field(0.0, ge=0)
    """Sampling temperature; 0 is greedy."""
    max_new_tokens: int = Field(512, ge=1)
    """Longest answer, tokens."""
    seed: int = Field(0, ge=0)
    """Seed of sampling and of generated suites."""


class WatchSection(_Section):
    """`watch:` the watcher that `dipo train` starts where `evaluate.suites` names something (docs/watch.md)."""

    enabled: bool = True
    """Start a watcher with the training; false: `dipo watch` by hand."""
    when: Literal["during", "after"] = "during"
    """during: beside the training. after: when it has ended, for a machine whose cores it needs itself."""
    wait: bool = False
    """The training waits after each save until that checkpoint is evaluated."""
    wait_timeout: int = Field(3600, ge=1)
    """Seconds the training waits for one evaluation before it goes on without."""
    every: int = Field(1, ge=1)
    """Evaluate every N-th checkpoint, and always the last."""
    order: Literal["oldest", "newest"] = "oldest"
    """Which of a backlog is evaluated first."""
    best: str = ""
    """SUITE or SUITE:METRIC that marks the best; the first suite's accuracy if empty."""
    attempts: int = Field(2, ge=1)
    """Attempts at a checkpoint whose evaluation fails."""
    deadline: int = Field(7200, ge=1)
    """Seconds the evaluation of one checkpoint may take."""
    finish_timeout: int = Field(7200, ge=0)
    """Seconds `dipo train` waits at its end for the evaluations that are left."""
    nice: int = Field(10, ge=0, le=19)
    """Niceness of the watcher's process on a shared machine."""
    num_gpus: float = Field(1.0, ge=0)
    """GPUs that the watcher requests from Ray, in a GPU run."""
    num_cpus: float = Field(1.0, ge=0)
    """CPU cores that it requests from Ray, in a GPU run."""
    ray: bool = True
    """In a GPU run: run the watcher as a Ray task; false: as a process of this machine."""
