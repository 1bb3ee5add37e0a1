"""What a run is, apart from OpenRLHF's arguments: handed to the trainer and written beside the run."""

from __future__ import annotations

from dataclasses import dataclass, field

from dipo_openrlhf.recipe.schema import DEFAULT_MAX_UNDECIDED_RATE


@dataclass(frozen=True)
class TrainerSettings:
    """Identity and bookkeeping of one run; plain values, since Ray pickles them to the trainer's process."""

    run_dir: str
    recipe_hash: str
    keep_checkpoints: int = 3  # whole checkpoints kept on disk; 0 keeps all
    keep_exports: int | None = None  # Hugging Face exports kept; None: as keep_checkpoints, 0: all
    wait_for_evaluation: int = 0  # seconds to wait after a save until a watcher has evaluated it; 0: never
    ckpt_path: str = ""  # where a driver says that it has ended; empty: nowhere
    wait_every: int = 1  # of every so many saves one is evaluated
    save_rollouts: bool = True  # rollouts.jsonl: correctness, reward and perplexity of every response
    dump_experiences: bool = False  # experiences/step_N.pt: whole training batches, token by token
    max_undecided_rate: float = DEFAULT_MAX_UNDECIDED_RATE
    seeded_rollouts: bool = False  # every prompt's samples come from a seed of their own
    wandb: bool = False
    tensorboard_dir: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    data_sha256: str = ""  # of the prompts file (prompts_hash); empty where the prompts are no local files
