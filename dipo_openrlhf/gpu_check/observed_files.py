"""Where the observed trainer and actors (observe.py) leave what the rows read, in RUN_DIR/observed/.

window_rankR.pt          {"micro_batches": [{KEPT}, ...], "grad_norm": norm}: the run's first optimizer window
actor_stepN_rankR.pt     the actor's random state before the first update of its process, in step N
host_rankR.json          {"peak": bytes of host memory at most, "offloaded": bytes that sleeping added to it}
trainer_stepN.pt         {"queue": ..., "rng": ...} before the first step of the trainer's process, step N
"""

from __future__ import annotations

from pathlib import Path

FOLDER = "observed"
KEPT = ("sequences", "attention_mask", "action_mask", "action_log_probs", "rollout_log_probs", "advantages")


def window_file(run_dir: Path, rank: int) -> Path:
    return run_dir / FOLDER / f"window_rank{rank}.pt"


def window_files(run_dir: Path) -> list[Path]:
    """Of all ranks."""
    return sorted((run_dir / FOLDER).glob("window_rank*.pt"))


def host_file(run_dir: Path, rank: int) -> Path:
    return run_dir / FOLDER / f"host_rank{rank}.json"


def host_files(run_dir: Path) -> list[Path]:
    """Of all ranks."""
    return sorted((run_dir / FOLDER).glob("host_rank*.json"))


def actor_file(run_dir: Path, step: int, rank: int) -> Path:
    return run_dir / FOLDER / f"actor_step{step}_rank{rank}.pt"


def trainer_file(run_dir: Path, step: int) -> Path:
    return run_dir / FOLDER / f"trainer_step{step}.pt"
