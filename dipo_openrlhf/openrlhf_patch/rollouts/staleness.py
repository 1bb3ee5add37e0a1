"""How old the weights were that a sample was generated with: counted in training steps, each of which updates them.

The engines' weights are numbered by the training steps they have seen. Training actor and generator share the lock
that OpenRLHF has for the engines (ppo_trainer_async.py:20), so the number is kept there and changes while it is held.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray
import torch
from openrlhf.trainer.ppo_trainer import BasePPOTrainer
from openrlhf.trainer.ppo_trainer_async import VLLMLock
from openrlhf.trainer.ppo_utils.experience import Experience

from dipo_openrlhf.openrlhf_patch.rollouts.ordered import OrderedGenerator
from dipo_openrlhf.openrlhf_patch.rollouts.refill import RefillGenerator

LockBase: Any = VLLMLock.__ray_actor_class__
LABEL = "async/weights_step"  # in Experience.info, [1]: on its way from the generator to the training actor


class WeightsLock(LockBase):
    """OpenRLHF's lock; it also says how many training steps the engines' weights have seen."""

    def __init__(self) -> None:
        super().__init__()
        self._weights_step = 0

    async def weights_step(self) -> int:
        return self._weights_step

    async def set_weights_step(self, step: int) -> None:
        self._weights_step = step


class NumberedUpdates(BasePPOTrainer):
    """To be put behind TrainingActor in the order of resolution: its broadcast, which takes the lock, calls this one."""

    weights_step = 0
    vllm_lock: Any

    def broadcast_to_vllm(self) -> None:
        """OpenRLHF's (ppo_trainer.py:309). The number follows the weights: no sample counts as newer than it is."""
        super().broadcast_to_vllm()
        ray.get(self.vllm_lock.set_weights_step.remote(self.weights_step))


class _Labelled:
    """Before a generator class: every sample gets the number of the weights it was generated with.

    With partial rollouts a sample may span an update; its label is that of its batch's beginning, the oldest.
    """

    vllm_lock: Any
    weights_step = 0

    def generate_samples(self, **generate_kwargs: Any) -> tuple[list[Experience], float | None, int, bool]:
        self.weights_step = ray.get(self.vllm_lock.weights_step.remote())
        batch: tuple[list[Experience], float | None, int, bool]
        batch = super().generate_samples(**generate_kwargs)  # type: ignore[misc]
        return batch

    def _process_response_into_experience(self, response: Any, **generate_kwargs: Any) -> Experience:
        sample = super()._process_response_into_experience(response, **generate_kwargs)  # type: ignore[misc]
        sample.info[LABEL] = torch.tensor([float(self.weights_step)])
        return sample


class LabelledGenerator(_Labelled, OrderedGenerator):
    """The generator of every other method."""


class LabelledRefill(_Labelled, RefillGenerator):
    """Ours, for dynamic sampling and dipo.keep_and_refill."""


def take_labels(samples: Sequence[Experience]) -> torch.Tensor:
    """[B]: the labels, which are taken off: OpenRLHF would log them as a metric of its own."""
    return torch.cat([sample.info.pop(LABEL) for sample in samples])


def staleness(labels_B: torch.Tensor, global_step: int) -> dict[str, float]:
    """Metrics of a batch that trains weights which have seen `global_step` training steps."""
    steps_B = global_step - labels_B
    return {
        "async/staleness_mean": steps_B.mean().item(),
        "async/staleness_max": steps_B.max().item(),
    }
