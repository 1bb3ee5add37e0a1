"""What a run is, apart from OpenRLHF's arguments: written by `dipo train`, read by the driver and the trainer."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dipo_eval.files.atomic import write_atomic
from dipo_openrlhf.recipe.schema import DEFAULT_MAX_UNDECIDED_RATE

CLIENT_STATE_KEY = "dipo"  # of this project's part of a checkpoint's client state


@dataclass(frozen=True)
class TrainerSettings:
    """Identity and bookkeeping of one run; plain values, since Ray pickles them to the trainer's process."""

    run_dir: str
    recipe_hash: str
    keep_checkpoints: int = 3  # complete checkpoints kept on disk; 0 keeps all
    keep_exports: int | None = None  # Hugging Face exports kept; None: as keep_checkpoints, 0: all
    wait_for_evaluation: int = 0  # seconds to wait after a save until a watcher has evaluated it; 0: never
    ckpt_path: str = ""  # where the driver writes that it has ended; empty: nowhere
    evaluate_every: int = 0  # every N-th save is evaluated, and its export kept until then; 0: none
    evaluated_meanwhile: bool = False  # a watcher is to evaluate them while the training goes on
    save_rollouts: bool = True  # rollouts.jsonl: correctness, reward and perplexity of every response
    dump_experiences: bool = False  # experiences/step_N.pt: complete training batches, token by token
    max_undecided_rate: float = DEFAULT_MAX_UNDECIDED_RATE
    skip_idle: bool = True  # samples without a gradient are left out of the update
    log_vllm_kl: bool = True  # request the engines' log-probabilities in every run
    seeded_rollouts: bool = False  # every prompt's samples come from a seed of their own
    shares_gpus: bool = False  # engines and actor ranks take turns on the same GPUs
    wandb: bool = False
    tensorboard_dir: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    data_sha256: str = ""  # of the prompts file (prompts_hash); empty where the prompts are no local files


@dataclass(frozen=True)
class LaunchPlan:
    """What the driver needs; written to RUN_DIR/launch.json. `settings`: of a TrainerSettings."""

    argv: list[str]
    dipo: dict[str, Any]
    settings: dict[str, Any]
    cpu: bool
    gpus: int  # without which the training cannot start; simulated in a CPU run
    environment: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)  # recipe key -> path here that every node has to read
    engine: dict[str, int] = field(default_factory=dict)  # of vLLM, that OpenRLHF has no argument for
    cluster: bool = False  # join the running Ray cluster; else start a Ray of the run's own

    def write(self, path: Path) -> None:
        write_atomic(path, (json.dumps(asdict(self), indent=2) + "\n").encode(), private=True)

    @classmethod
    def read(cls, path: Path) -> LaunchPlan:
        return cls(**json.loads(path.read_text(encoding="utf-8")))
