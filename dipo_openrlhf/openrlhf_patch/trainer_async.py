"""DiPOTrainerAsync: OpenRLHF's asynchronous trainer with DiPO's parts in it.

openrlhf/trainer/ppo_trainer_async.py, PPOTrainerAsync.__init__ starts a lock and two more actors, generator and training
actor. It runs in a Ray worker, where the driver's replacements do not exist: so it replaces their classes by ours itself,
before they are started. Ours travel by reference, and each process imports OpenRLHF's own.
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
from dipo_openrlhf.openrlhf_patch import async_batches
from dipo_openrlhf.openrlhf_patch.actor import rng_state, set_rng_state
from dipo_openrlhf.openrlhf_patch.async_batches import (
    CARRIED_OVER,
    BatchMetadata,
    CarriedOverSamples,
    LabelledGenerator,
    LabelledRefill,
    QueueReader,
    QueueWriter,
)
from dipo_openrlhf.openrlhf_patch.overrides import ActorFactory
from dipo_openrlhf.openrlhf_patch.refill import rollout_generator
from dipo_openrlhf.openrlhf_patch.settings import CLIENT_STATE_KEY, TrainerSettings
from dipo_openrlhf.openrlhf_patch.trainer import DiPOTraining
from dipo_openrlhf.record.events import SAVING, write_event

GeneratorBase: Any = GenerateSamplesActor.__ray_actor_class__
TrainingBase: Any = TrainingActor.__ray_actor_class__
TrainerBase: Any = PPOTrainerAsync.__ray_actor_class__


class DiPOGenerator(GeneratorBase):
    """OpenRLHF's generator actor; it labels samples, and loses none at a resume."""

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
        # OpenRLHF seeds only the policy actors, and this process draws the order of the prompts.
        set_seed(strategy.args.train.seed)
        super().__init__(
            pretrain, strategy, *args, rollout_queue=QueueWriter(rollout_queue, self.pack), **kwargs
        )
        seed = self.args.train.seed if settings.seeded_rollouts else None
        self.samples_generator = rollout_generator(
            self.samples_generator, dipo_config, seed, ordered=LabelledGenerator, refill=LabelledRefill
        )
        self.samples_generator.vllm_lock = self.vllm_lock
        self._resumed_step = 0

    def get_max_steps(self) -> int:
        """Updates of the whole run, for which the actors make their schedule."""
        return int(self.samples_generator.run_length.updates)

    def get_total_steps(self) -> int:
        """Steps of the whole run, for the training actor to log."""
        return int(self.samples_generator.run_length.steps)

    def pack(self) -> BatchMetadata:
        """What travels with the batch that was just generated."""
        generator = self.samples_generator
        buffer = generator._sample_buffer
        exhausted = generator._dataloader_iter is None
        metrics = {**getattr(generator, "metrics", {}), CARRIED_OVER: float(len(buffer))}
        return BatchMetadata(
            metrics=metrics,
            carried_over=ray.put(CarriedOverSamples.pack(buffer, exhausted)) if buffer else None,
            last_of_episode=generator.is_exhausted,
            queued=time.time(),
            place=generator.place,
            rng=rng_state(),
        )

    def resume_from(self, step: int, rng: dict[str, Any] | None) -> None:
        """To be called before load_state_dict, to which OpenRLHF passes neither."""
        self._resumed_step = step
        self.samples_generator.rng = rng

    def fit(self, episode: int, total_consumed_prompts: int) -> None:
        """The seeds continue at the position of the prompts."""
        self.samples_generator.position = total_consumed_prompts
        super().fit(episode, total_consumed_prompts)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The data loader's position, and the samples carried over there."""
        super().load_state_dict(state_dict)
        saved = CarriedOverSamples.load(Path(self.args.ckpt.path), self._resumed_step)
        if saved is not None:
            generator = self.samples_generator
            generator._sample_buffer = saved.unpack()
            # OpenRLHF takes a buffer without an iterator for an episode whose prompts are all drawn.
            generator._dataloader_iter = None if saved.exhausted else iter(self.prompts_dataloader)


class DiPOTrainingActor(DiPOTraining, TrainingBase, async_batches.NumberedUpdates):
    """OpenRLHF's training actor with DiPO's parts; staleness is logged."""

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
        vars(self.queue_reader)["get"] = self.meter.clock.timed("wait", self.queue_reader.get)

    def restore_best_checkpoint_state(self, checkpoint_states: dict[str, Any]) -> None:
        """The queue, and the number of the weights that are sent to the engines next."""
        super().restore_best_checkpoint_state(checkpoint_states)
        states = checkpoint_states or {}
        self.weights_step = states.get("global_step", 0)
        if rng := states.get(CLIENT_STATE_KEY, {}).get("rng"):
            set_rng_state(rng)

    def fit(self, global_step: int = 0) -> None:
        super().fit(global_step)
        self.engine_watch.set()  # the engines end with the run
        self.save_final_checkpoint()

    def train_step(self, rollout_samples: list[Any], global_step: int) -> tuple[dict[str, Any], int]:
        """The samples' labels are removed, and the coming update is numbered."""
        labels_B = async_batches.take_labels(rollout_samples)
        self._staleness = async_batches.staleness(labels_B, global_step)
        self.weights_step = global_step + 1
        self.experience_maker.place = self.queue_reader.metadata.place
        result: tuple[dict[str, Any], int] = super().train_step(rollout_samples, global_step)
        return result

    def broadcast_to_vllm(self) -> None:
        """OpenRLHF's, which calls NumberedUpdates'. Defined here, since Ray pickles a method that is only inherited from
        a decorated actor class by value, with a copy of that class, in which `super()` is not of this class.

        What is not NumberedUpdates' is a wait for the generator, which holds the lock.
        """
        with self.meter.clock("wait"):
            super().broadcast_to_vllm()

    def training_state(self) -> dict[str, Any]:
        """Also the generator's random state after it had made the step's batch."""
        return {**super().training_state(), "generator_rng": self.queue_reader.metadata.rng}

    def batch_metrics(self) -> dict[str, Any]:
        """Of the generator, the queue and the samples' age."""
        return {**self.queue_reader.metadata.metrics, **self.queue_reader.metrics, **self._staleness}

    def complete_checkpoint(self, global_step: int) -> None:
        """The carried-over samples are a part of the checkpoint, so they are written before its marker."""
        reference = self.queue_reader.metadata.carried_over
        if not self.args.ckpt.disable_ds:
            samples = ray.get(reference) if reference is not None else None
            async_batches.save_carried_over(self.ckpt_path, global_step, samples)
        super().complete_checkpoint(global_step)


class DiPOTrainerAsync(TrainerBase):
    """OpenRLHF's asynchronous trainer.

    Args:
        dipo_config: the algorithm's switches. A named parameter, since `**generate_kwargs` swallows all others.
        settings: the run's folder, rotation and identity.
    """

    def __init__(
        self, *args: Any, dipo_config: DipoConfig, settings: TrainerSettings, **generate_kwargs: Any
    ) -> None:
        self.run_dir = Path(settings.run_dir)
        ppo_trainer_async.VLLMLock = ray.remote(num_cpus=0)(async_batches.WeightsLock)
        named = {"dipo_config": dipo_config, "settings": settings}
        ppo_trainer_async.GenerateSamplesActor = ActorFactory(ray.remote(DiPOGenerator), **named)
        ppo_trainer_async.TrainingActor = ActorFactory(ray.remote(DiPOTrainingActor), **named)
        super().__init__(*args, **generate_kwargs)

    def fit(self) -> None:
        """OpenRLHF's, which resumes; the generator gets the step from which it resumes first."""
        total_steps = ray.get(self.generator_actor.get_total_steps.remote())
        states = ray.get(self.trainer_actor.init_checkpoint_states.remote())
        rng = states.get(CLIENT_STATE_KEY, {}).get("generator_rng")
        ray.get(self.generator_actor.resume_from.remote(states["global_step"], rng))
        ray.get(self.trainer_actor.begin.remote(total_steps))
        super().fit()
        write_event(self.run_dir, SAVING)
