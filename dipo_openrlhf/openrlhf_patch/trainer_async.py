"""DiPOTrainerAsync: OpenRLHF's asynchronous trainer with DiPO's parts in it.

Its trainer is an actor that starts two more, generator and training actor, and a lock (ppo_trainer_async.py:252).
It runs in a process of Ray's, where nothing that the driver replaced is replaced: so it puts our classes in the place
of OpenRLHF's itself, before they are started. They travel by reference, and each process imports OpenRLHF's own.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import openrlhf.trainer.ppo_trainer_async as ppo_trainer_async
import ray
from openrlhf.trainer.ppo_trainer_async import GenerateSamplesActor, PPOTrainerAsync, TrainingActor
from transformers import set_seed

from dipo_openrlhf.algorithm import DipoConfig
from dipo_openrlhf.openrlhf_patch.rng_state import rng_state, set_rng_state
from dipo_openrlhf.openrlhf_patch.rollouts import carried_over, staleness
from dipo_openrlhf.openrlhf_patch.rollouts.queue_entries import (
    CARRIED_OVER,
    BatchMetadata,
    QueueReader,
    QueueWriter,
)
from dipo_openrlhf.openrlhf_patch.rollouts.refill import refills
from dipo_openrlhf.openrlhf_patch.settings import TrainerSettings
from dipo_openrlhf.openrlhf_patch.training import CLIENT_STATE_KEY, DiPOTraining
from dipo_openrlhf.record.events import write_event

GeneratorBase: Any = GenerateSamplesActor.__ray_actor_class__
TrainingBase: Any = TrainingActor.__ray_actor_class__
TrainerBase: Any = PPOTrainerAsync.__ray_actor_class__


class DiPOGenerator(GeneratorBase):
    """OpenRLHF's generator actor (ppo_trainer_async.py:41): labels samples, and forgets none at a resume."""

    samples_generator: Any

    def __init__(
        self,
        pretrain: str,
        strategy: Any,
        *args: Any,
        dipo_config: DipoConfig,
        settings: TrainerSettings,
        rollout_queue: Any,
        **kwargs: Any,
    ) -> None:
        # OpenRLHF seeds the actors alone, and this process draws the order of the prompts.
        set_seed(strategy.args.train.seed)
        super().__init__(
            pretrain, strategy, *args, rollout_queue=QueueWriter(rollout_queue, self.pack), **kwargs
        )
        plain = self.samples_generator
        parts = {
            "strategy": plain.strategy,
            "prompts_dataloader": plain.prompts_dataloader,
            "eval_dataloader": plain.eval_dataloader,
            "tokenizer": plain.tokenizer,
            "vllm_engines": plain.vllm_engines,
            "seed": self.args.train.seed if settings.seeded_rollouts else None,
        }
        if refills(dipo_config):
            self.samples_generator = staleness.LabelledRefill(
                keep_extremes=dipo_config.keep_and_refill, refill_cap=dipo_config.refill_cap, **parts
            )
        else:
            self.samples_generator = staleness.LabelledGenerator(**parts)
        self.samples_generator.vllm_lock = self.vllm_lock
        self._resumed_step = 0

    def get_total_steps(self) -> int:
        """Steps of the whole run, for the training actor to say."""
        return int(self.samples_generator.total_steps)

    def pack(self) -> BatchMetadata:
        """What travels with the batch that was just generated."""
        generator = self.samples_generator
        buffer = generator._sample_buffer
        exhausted = generator._dataloader_iter is None
        metrics = {**getattr(generator, "metrics", {}), CARRIED_OVER: float(len(buffer))}
        return BatchMetadata(
            metrics=metrics,
            carried_over=ray.put(carried_over.pack(buffer, exhausted)) if buffer else None,
            last_of_episode=generator.is_through,
            queued=time.time(),
            rng=rng_state(),
        )

    def resume_from(self, step: int, rng: dict[str, Any] | None) -> None:
        """To be called before load_state_dict, which OpenRLHF calls without either."""
        self._resumed_step = step
        self.samples_generator.rng = rng

    def fit(self, episode: int, total_consumed_prompts: int) -> None:
        """OpenRLHF's (:93); the seeds go on where the prompts do."""
        self.samples_generator.position = total_consumed_prompts
        super().fit(episode, total_consumed_prompts)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The data loader's position, and the samples that were left over there."""
        super().load_state_dict(state_dict)
        saved = carried_over.load(Path(self.args.ckpt.path), self._resumed_step)
        if saved is not None:
            generator = self.samples_generator
            generator._sample_buffer = carried_over.unpack(saved)
            # OpenRLHF takes a buffer without an iterator for an episode whose prompts are all drawn (:80).
            generator._dataloader_iter = None if saved.exhausted else iter(self.prompts_dataloader)


class DiPOTrainingActor(DiPOTraining, TrainingBase, staleness.NumberedUpdates):
    """OpenRLHF's training actor (ppo_trainer_async.py:163) with DiPO's parts; staleness is logged."""

    def __init__(
        self,
        *args: Any,
        dipo_config: DipoConfig,
        settings: TrainerSettings,
        rollout_queue: Any,
        **kwargs: Any,
    ) -> None:
        self.queue_reader = QueueReader(rollout_queue)
        super().__init__(*args, rollout_queue=self.queue_reader, **kwargs)
        self.set_up(dipo_config, settings)
        self.experience_maker.off_policy = True
        self._staleness: dict[str, float] = {}

    def begin(self, total_steps: int) -> None:
        """Say that training begins, and of how many steps it is."""
        self.total_steps = total_steps
        write_event(self.run_dir, "training", total_steps=total_steps)

    def restore_best_checkpoint_state(self, checkpoint_states: dict[str, Any]) -> None:
        """The queue, and the number of the weights that are sent to the engines next."""
        super().restore_best_checkpoint_state(checkpoint_states)
        states = checkpoint_states or {}
        self.weights_step = states.get("global_step", 0)
        if rng := states.get(CLIENT_STATE_KEY, {}).get("rng"):
            set_rng_state(rng)

    def fit(self, global_step: int = 0) -> None:
        """OpenRLHF's loop (ppo_trainer_async.py:202)."""
        super().fit(global_step)
        self.engine_watch.set()  # the engines end with the run

    def train_step(self, rollout_samples: list[Any], global_step: int) -> tuple[dict[str, Any], int]:
        """As of both parents; before it, the samples' labels are taken off and the coming update numbered."""
        self._staleness = staleness.staleness(staleness.take_labels(rollout_samples), global_step)
        self.weights_step = global_step + 1
        result: tuple[dict[str, Any], int] = super().train_step(rollout_samples, global_step)
        return result

    def broadcast_to_vllm(self) -> None:
        """OpenRLHF's, which calls NumberedUpdates'. Ray sends a method that an actor class only inherits from a decorated
        one by value, together with a copy of that class, and in the copy `super()` is not of this class.
        """
        super().broadcast_to_vllm()

    def training_state(self) -> dict[str, Any]:
        """Also where the generator's random numbers were when it had made the step's batch."""
        return {**super().training_state(), "generator_rng": self.queue_reader.metadata.rng}

    def batch_metrics(self) -> dict[str, Any]:
        """Of the generator, the queue and the samples' age."""
        return {**self.queue_reader.metadata.metrics, **self.queue_reader.metrics, **self._staleness}

    def _complete(self, global_step: int) -> None:
        """The samples left over are a part of the checkpoint, so they are there before its marker."""
        reference = self.queue_reader.metadata.carried_over
        if not self.args.ckpt.disable_ds:
            carried_over.save(
                self.ckpt_path, global_step, ray.get(reference) if reference is not None else None
            )
        super()._complete(global_step)


class _Factory:
    """Stands where OpenRLHF expects one of its Ray actor classes: ours, with named arguments of ours."""

    def __init__(self, actor_class: Any, **extra: Any) -> None:
        self.actor_class = actor_class
        self.extra = extra

    def remote(self, **arguments: Any) -> Any:
        return ray.remote(self.actor_class).remote(**arguments, **self.extra)


class DiPOTrainerAsync(TrainerBase):
    """See ppo_trainer_async.py:252.

    Args:
        dipo_config: the algorithm's switches. A named parameter, since `**generate_kwargs` swallows all others.
        settings: the run's folder, rotation and identity.
    """

    def __init__(
        self, *args: Any, dipo_config: DipoConfig, settings: TrainerSettings, **generate_kwargs: Any
    ) -> None:
        self.run_dir = Path(settings.run_dir)
        ppo_trainer_async.VLLMLock = ray.remote(num_cpus=0)(staleness.WeightsLock)
        named = {"dipo_config": dipo_config, "settings": settings}
        ppo_trainer_async.GenerateSamplesActor = _Factory(DiPOGenerator, **named)
        ppo_trainer_async.TrainingActor = _Factory(DiPOTrainingActor, **named)
        super().__init__(*args, **generate_kwargs)

    def fit(self) -> None:
        """OpenRLHF's, which resumes by itself (:313); the generator is told beforehand from which step."""
        total_steps = ray.get(self.generator_actor.get_total_steps.remote())
        states = ray.get(self.trainer_actor.init_checkpoint_states.remote())
        rng = states.get(CLIENT_STATE_KEY, {}).get("generator_rng")
        ray.get(self.generator_actor.resume_from.remote(states["global_step"], rng))
        ray.get(self.trainer_actor.begin.remote(total_steps))
        super().fit()
        write_event(self.run_dir, "saving the final model")
