"""An actor whose checkpoints hold its random number generators too, and which tells of updates that were lost.

The order in which the replay buffer is trained (ppo_actor.py:153) and dropout come from them, so that without them a
resumed run takes other optimizer windows than an undisturbed one. One file a rank, in DeepSpeed's own folder of the
step, so that it is whole before the completion marker is written and goes where the folder goes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from openrlhf.trainer.ray.ppo_actor import PolicyModelActor

from dipo_openrlhf.openrlhf_patch.health.divergence import lost_updates
from dipo_openrlhf.openrlhf_patch.rng_state import rng_state, set_rng_state

Base: Any = PolicyModelActor.__ray_actor_class__


def rng_file(folder: Path, rank: int) -> Path:
    """Where a rank's generators are kept in the step's folder."""
    return folder / f"rng_rank{rank}.pt"


class DiPOPolicyActor(Base):
    """PolicyModelActor that saves and restores its generators, and looks at its weights after a step."""

    def init_model_from_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """See openrlhf/trainer/ray/ppo_actor.py:480: a resume loads the step that `latest` names."""
        super().init_model_from_pretrained(*args, **kwargs)
        options, folder = self.strategy.args, self._state_folder()
        if not options.ckpt.load_enable or not (folder / "latest").is_file():
            return
        saved = rng_file(folder / (folder / "latest").read_text(encoding="utf-8").strip(), self._rank)
        if saved.is_file():  # not in a checkpoint of an earlier version
            set_rng_state(torch.load(saved, weights_only=True))

    def fit(self, kl_ctl: float = 0) -> dict[str, Any]:
        """See openrlhf/trainer/ray/ppo_actor.py, PolicyModelActor.fit: its status, and what was lost on any rank."""
        engine = self.actor.model
        skipped = engine.skipped_steps
        status: dict[str, Any] = super().fit(kl_ctl)
        lost = self.strategy.all_reduce(lost_updates(engine, skipped), op="max")
        return {**status, **{name: count for name, count in lost.items() if count}}

    def save_checkpoint(self, tag: str, *args: Any, **kwargs: Any) -> None:
        """See openrlhf/trainer/ray/ppo_actor.py:655."""
        super().save_checkpoint(tag, *args, **kwargs)
        if not self.disable_ds_ckpt:
            torch.save(rng_state(), rng_file(self._state_folder() / tag, self._rank))

    def _state_folder(self) -> Path:
        return Path(self.strategy.args.ckpt.path) / "_actor"
