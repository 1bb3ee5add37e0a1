"""A run that was killed continues with the queue, the step and the random state that it had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dipo_openrlhf.gpu_check.evidence import Evidence, MissingEvidenceError
from dipo_openrlhf.gpu_check.observed_files import actor_file, trainer_file
from dipo_openrlhf.gpu_check.row import Row
from dipo_openrlhf.gpu_check.rows.advantages import recompute
from dipo_openrlhf.gpu_check.settings import KILLED_AFTER, STEPS
from dipo_openrlhf.openrlhf_patch.settings import CLIENT_STATE_KEY

NAME = "resume after SIGKILL"
SHOWN = "step, queue, random states, prompts: equal"


def check(evidence: Evidence) -> Row:
    run_dir, next_step = evidence.settings.run_dir, KILLED_AFTER + 1
    state = evidence.settings.ckpt / "_actor" / f"global_step{KILLED_AFTER}"
    client = client_state(evidence, state)
    if not trainer_file(run_dir, next_step).is_file():
        raise MissingEvidenceError(f"no process began with step {next_step}: the run was not resumed there")
    trainer = evidence.load(trainer_file(run_dir, next_step))
    unequal = []
    if client.get("global_step") != KILLED_AFTER:
        unequal.append(f"the checkpoint says step {client.get('global_step')}")
    if not same(trainer["queue"], recompute(evidence)[KILLED_AFTER].queue):
        unequal.append("the perplexity queue is not that of the steps before")
    if not same(trainer["rng"], client[CLIENT_STATE_KEY]["rng"]):
        unequal.append("the trainer's random state is not the checkpoint's")
    ranks = sorted(state.glob("rng_rank*.pt"))
    for path in ranks:
        rank = int(path.stem.removeprefix("rng_rank"))
        if not same(evidence.load(actor_file(run_dir, next_step, rank)), evidence.load(path)):
            unequal.append(f"the random state of actor rank {rank} is not the checkpoint's")
    prompts = [group["prompt"] for step in range(1, STEPS + 1) for group in evidence.rollouts(step)]
    wanted = STEPS * evidence.settings.prompts
    if not len(set(prompts)) == len(prompts) == wanted:
        unequal.append(f"{len(set(prompts))} different prompts were trained, not {wanted}")
    text = (
        f"equal: step {KILLED_AFTER}, {len(ranks)} ranks, {len(prompts)} prompts"
        if not unequal
        else unequal[0]
    )
    meaning = (
        ""
        if not unequal
        else (
            "a resumed run is another run: it repeats or skips data, or forgets what DiPO has seen; do not rely on "
            "--resume or run.max_restarts here (docs/resume.md says what a checkpoint holds)"
        )
    )
    return Row(NAME, not unequal, text, SHOWN, meaning, {"unequal": unequal, "ranks": len(ranks)})


def client_state(evidence: Evidence, folder: Path) -> dict[str, Any]:
    """OpenRLHF's and DiPO's own part of DeepSpeed's file of model states."""
    files = sorted(folder.glob("*model_states.pt"))
    if not files:
        raise MissingEvidenceError(f"{folder.name}: holds no model states")
    # Written by this check a moment ago; DeepSpeed's files hold more than tensors.
    found: dict[str, Any] = torch.load(files[0], weights_only=False, map_location="cpu")
    if CLIENT_STATE_KEY not in found:
        raise MissingEvidenceError(f"{files[0].name}: holds no state of DiPO")
    return found


def same(one: Any, other: Any) -> bool:
    """Equal, tensors bit for bit, in nested plain containers; a tuple equals a list."""
    if isinstance(one, torch.Tensor) or isinstance(other, torch.Tensor):
        both = isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)
        return both and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
