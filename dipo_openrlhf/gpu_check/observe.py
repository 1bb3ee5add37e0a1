"""Our trainer and actor, which also write down what the comparison reads; nothing that they compute is changed."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openrlhf.trainer.ray.ppo_actor as ppo_actor
import psutil
import torch

from dipo_openrlhf.gpu_check.observed_files import KEPT, actor_file, host_file, trainer_file, window_file
from dipo_openrlhf.openrlhf_patch.actor import DiPOPolicyActor, rng_state
from dipo_openrlhf.openrlhf_patch.trainer import DiPOTrainer


def _save(content: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)


def _added(sleep: Callable[[], Any]) -> int:
    """Bytes of this process's memory that `sleep` adds."""
    before = psutil.Process().memory_info().rss
    sleep()
    return int(psutil.Process().memory_info().rss - before)


class ObservedTrainer(DiPOTrainer):
    """Keeps the state with which its process takes its first step."""

    _seen = False

    def train_step(self, rollout_samples: list[Any], global_step: int) -> tuple[dict[str, Any], int]:
        if not self._seen:
            self._seen = True
            state = {"queue": self.experience_maker.queue.state_dict(), "rng": rng_state()}
            _save(state, trainer_file(self.run_dir, global_step + 1))
        return super().train_step(rollout_samples, global_step)


class ObservedActor(DiPOPolicyActor):
    """Keeps the random state before its process's first update, the run's first window with its gradient norm, and what
    its process has of the host's memory.
    """

    _seen = False
    _first_offloaded = _offloaded = 0

    def init_model_from_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """The first sleep, of master weights and gradients, is in there; there are no moments yet."""
        original = ppo_actor.offload_deepspeed_states

        def offload(model: Any) -> None:
            self._first_offloaded = _added(lambda: original(model))

        ppo_actor.offload_deepspeed_states = offload
        try:
            super().init_model_from_pretrained(*args, **kwargs)
        finally:
            ppo_actor.offload_deepspeed_states = original

    def offload_states(self) -> None:
        self._offloaded = max(self._offloaded, _added(super().offload_states))

    def save_checkpoint(self, tag: str, *args: Any, **kwargs: Any) -> None:
        super().save_checkpoint(tag, *args, **kwargs)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        text = json.dumps({"peak": peak, "offloaded": self._first_offloaded + self._offloaded})
        host_file(self._run_dir(), self._rank).write_text(text, encoding="utf-8")

    def _run_dir(self) -> Path:
        return Path(self.strategy.args.ckpt.path).parent

    def fit(self, kl_ctl: float = 0) -> dict[str, Any]:
        if self._seen:
            return super().fit(kl_ctl)
        self._seen = True
        run_dir = self._run_dir()
        step = int(self.checkpoint_states.get("global_step", 0)) + 1
        _save(rng_state(), actor_file(run_dir, step, self._rank))
        if step > 1:
            return super().fit(kl_ctl)
        window = _Window(self.trainer, self.actor.model)
        try:
            return super().fit(kl_ctl)
        finally:
            self.trainer.training_step = window.original
            _save(
                {"micro_batches": window.parts, "grad_norm": window.grad_norm},
                window_file(run_dir, self._rank),
            )


class _Window:
    """Stands before the trainer's training_step; keeps micro-batches until the first optimizer step."""

    def __init__(self, trainer: Any, engine: Any) -> None:
        self.original, self.engine = trainer.training_step, engine
        self.parts: list[dict[str, torch.Tensor]] = []
        self.grad_norm: float | None = None
        trainer.training_step = self.training_step

    def training_step(self, experience: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if self.grad_norm is not None:
            return dict(self.original(experience, *args, **kwargs))
        values = {name: getattr(experience, name) for name in KEPT}
        self.parts.append({name: v.detach().cpu().clone() for name, v in values.items() if v is not None})
        before = self.engine.global_steps
        status: dict[str, Any] = self.original(experience, *args, **kwargs)
        if self.engine.global_steps > before:
            self.grad_norm = float(status["metrics"]["actor_grad_norm"])
        return status


class UnsentActor(ObservedActor):
    """The control: an actor whose weights do not reach the engines."""

    def broadcast_to_vllm(self) -> None:
        """Nothing; the engines are awake, and keep the weights that they have."""
