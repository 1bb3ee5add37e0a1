"""What travels between generator and training actor in asynchronous mode, beside what OpenRLHF sends.

* The age of a sample's weights, counted in training steps. The number of the engines' weights is kept in the lock that
  both actors share (openrlhf/trainer/ppo_trainer_async.py, VLLMLock), and changes only while it is held.
* Metadata of a batch, in the client states of its queue entry. OpenRLHF's loops build and read the entries themselves
  (openrlhf/trainer/ppo_trainer_async.py, GenerateSamplesActor.fit and TrainingActor.fit), so a wrapper of ours replaces
  the queue at either end.
* Samples generated beyond a batch (rollout.vllm_generate_batch_size above rollout.batch_size). OpenRLHF trains them in
  later steps and loses them at a resume, since the data loader's saved position is past their prompts. They are saved
  with the step: <ckpt>/_actor/global_step7/dipo_left_over.pt, one file, where the client state is one copy a rank.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import ray
import torch
from openrlhf.trainer.ppo_trainer import BasePPOTrainer
from openrlhf.trainer.ppo_trainer_async import VLLMLock
from openrlhf.trainer.ppo_utils.experience import Experience

from dipo_openrlhf.openrlhf_patch.refill import RefillGenerator
from dipo_openrlhf.openrlhf_patch.rollouts import OrderedGenerator
from dipo_openrlhf.record.checkpoints import tag_of

LockBase: Any = VLLMLock.__ray_actor_class__
LABEL = "async/weights_step"  # in Experience.info, [1]: on its way from the generator to the training actor
METADATA_KEY = "dipo_batch_metadata"
CARRIED_OVER = "async/carried_over_samples"
CARRIED_OVER_FILE = "dipo_left_over.pt"  # its name in checkpoints since the first version


class WeightsLock(LockBase):
    """OpenRLHF's lock, which also holds the number of training steps that the engines' weights have seen."""

    def __init__(self) -> None:
        super().__init__()
        self._weights_step = 0

    async def weights_step(self) -> int:
        return self._weights_step

    async def set_weights_step(self, step: int) -> None:
        self._weights_step = step


class NumberedUpdates(BasePPOTrainer):
    """To be inherited after TrainingActor, whose broadcast takes the lock and calls this one."""

    weights_step = 0
    vllm_lock: Any
    meter: Any

    def broadcast_to_vllm(self) -> None:
        """The number follows the weights: no sample counts as newer than it is."""
        with self.meter.clock("sync"):
            super().broadcast_to_vllm()
        ray.get(self.vllm_lock.set_weights_step.remote(self.weights_step))


class _Labelled:
    """To be inherited before a generator class: every sample gets the number of the weights it was generated with.

    With partial rollouts a sample may span an update; its label is the number at its batch's beginning, the oldest.
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
    """The generator for dynamic sampling and dipo.keep_and_refill."""


def take_labels(samples: Sequence[Experience]) -> torch.Tensor:
    """[B]: the labels, which are removed: OpenRLHF would log them as a metric of its own."""
    return torch.cat([sample.info.pop(LABEL) for sample in samples])


def staleness(labels_B: torch.Tensor, global_step: int) -> dict[str, float]:
    """Metrics of a batch that trains weights which have seen `global_step` training steps."""
    steps_B = global_step - labels_B
    return {
        "async/staleness_mean": steps_B.mean().item(),
        "async/staleness_max": steps_B.max().item(),
    }


@dataclass(frozen=True)
class CarriedOverSamples:
    """samples: in the order in which they are to be trained. exhausted: the episode's prompts are all drawn."""

    samples: list[dict[str, Any]]
    exhausted: bool

    @classmethod
    def pack(cls, samples: Sequence[Experience], exhausted: bool) -> CarriedOverSamples:
        """Of a generator's buffer, as plain values: the file is read with torch.load(weights_only=True)."""
        return cls(
            [{part.name: getattr(s, part.name) for part in fields(Experience)} for s in samples], exhausted
        )

    def unpack(self) -> list[Experience]:
        return [Experience(**values) for values in self.samples]

    @classmethod
    def load(cls, ckpt_path: Path, step: int) -> CarriedOverSamples | None:
        """What was saved with the step, or None."""
        path = _carried_over_file(ckpt_path, step)
        return cls(**torch.load(path, map_location="cpu", weights_only=True)) if path.exists() else None


def save_carried_over(ckpt_path: Path, step: int, carried_over: CarriedOverSamples | None) -> None:
    """Write the file into the step's folder, which DeepSpeed has made; one of an earlier save of the step is removed."""
    path = _carried_over_file(ckpt_path, step)
    path.unlink(missing_ok=True)
    if carried_over is not None and carried_over.samples:
        torch.save(dict(vars(carried_over)), path)


def _carried_over_file(ckpt_path: Path, step: int) -> Path:
    return ckpt_path / "_actor" / tag_of(step) / CARRIED_OVER_FILE


@dataclass(frozen=True)
class BatchMetadata:
    """Of one batch.

    Attributes:
        metrics: what its generator logged.
        carried_over: reference to the samples generated beyond it (CarriedOverSamples), or None.
        last_of_episode: whether its episode's prompts and samples end with it.
        queued: time of day when it was put into the queue.
        place: of the learning rate's schedule before it (rollouts.py, OrderedGenerator.place).
        rng: the generator's random state then (actor.py, rng_state).
    """

    metrics: dict[str, float] = field(default_factory=dict)
    carried_over: Any = None
    last_of_episode: bool = False
    queued: float = 0.0
    place: int | None = None
    rng: dict[str, Any] | None = None


def _is_batch(entry: Any) -> bool:
    """Else "done", or ("eval", step, metrics)."""
    return isinstance(entry, tuple) and len(entry) == 4


class QueueWriter:
    """The generator's end. `pack` is called when a batch is ready, before the next one is begun."""

    def __init__(self, queue: Any, pack: Callable[[], BatchMetadata]) -> None:
        self.queue = queue
        self.pack = pack

    def put(self, entry: Any, block: bool = True) -> None:
        if _is_batch(entry):
            states, metadata = entry[1], self.pack()
            # An exhausted data loader is saved as restarted: a resume in this episode would repeat all of it.
            states["episode"] += metadata.last_of_episode
            states[METADATA_KEY] = metadata
        self.queue.put(entry, block=block)


class QueueReader:
    """The training actor's end.

    Attributes:
        metadata: of the batch taken last.
        metrics: seconds that this batch was in the queue, and that the training actor waited for it.
    """

    def __init__(self, queue: Any) -> None:
        self.queue = queue
        self.metadata = BatchMetadata()
        self.metrics: dict[str, float] = {}

    def get(self, block: bool = True) -> Any:
        started = time.time()
        entry = self.queue.get(block=block)
        if _is_batch(entry):
            self.metadata = entry[1].pop(METADATA_KEY)
            now = time.time()
            self.metrics = {
                "async/queue_seconds": max(0.0, now - self.metadata.queued),  # another machine, another clock
                "async/wait_seconds": now - started,
            }
        return entry
