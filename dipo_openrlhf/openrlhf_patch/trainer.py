"""OpenRLHF's trainer with DiPO's experience maker, queue checkpoints, safe rotation and logs.

DiPOTraining is what both training loops share; DiPOTrainer is the synchronous one (trainer_async.py has the other).
`PPOTrainer` is a Ray actor class and cannot be subclassed; its plain class (`__ray_actor_class__`) can, and driver.py
wraps ours in `ray.remote` again.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import openrlhf.trainer.ppo_trainer as ppo_trainer
from openrlhf.trainer.ppo_trainer import PPOTrainer
from transformers import set_seed

from dipo_eval.errors import UserError
from dipo_eval.files.lease import LeaseObserver
from dipo_openrlhf.algorithm import DipoConfig
from dipo_openrlhf.algorithm.perplexity import NotFiniteError
from dipo_openrlhf.openrlhf_patch import divergence, trackers
from dipo_openrlhf.openrlhf_patch.actor import rng_state
from dipo_openrlhf.openrlhf_patch.experience_maker import DiPOExperienceMaker
from dipo_openrlhf.openrlhf_patch.health import dead_engine, watch_for_death
from dipo_openrlhf.openrlhf_patch.observe.step import Gpus, StepMeter
from dipo_openrlhf.openrlhf_patch.refill import RefillGenerator, rollout_generator
from dipo_openrlhf.openrlhf_patch.saving import CheckpointSaving
from dipo_openrlhf.openrlhf_patch.settings import CLIENT_STATE_KEY, TrainerSettings
from dipo_openrlhf.openrlhf_patch.weight_sync import divergence_limit
from dipo_openrlhf.record import run_log
from dipo_openrlhf.record.events import SAVING, TRAINING, WARNING, write_event

logger = logging.getLogger(__name__)

Base: Any = PPOTrainer.__ray_actor_class__


def as_composed(experiences: list[Any], args: Any) -> list[Any]:
    """In the place of OpenRLHF's balance_experiences: the experience maker has composed the ranks' shares already."""
    return experiences


class DiPOTraining(CheckpointSaving):
    """To be inherited before an OpenRLHF trainer class, whose `__init__` is followed by `set_up`."""

    args: Any
    strategy: Any
    experience_maker: Any
    kl_ctl: Any

    def set_up(self, dipo_config: DipoConfig, settings: TrainerSettings) -> None:
        """Replace OpenRLHF's experience maker and loggers. To be called after OpenRLHF's own `__init__`."""
        base: Any = self
        ppo_trainer.balance_experiences = as_composed
        self.settings = settings
        self.run_dir = Path(settings.run_dir)
        self.ckpt_path = Path(self.args.ckpt.path)
        self.total_steps = 0
        self.observer = LeaseObserver()
        self.wandb_logger = trackers.start_wandb(self.run_dir, self.args) if settings.wandb else None
        if settings.tensorboard_dir:
            self.tensorboard_logger = trackers.start_tensorboard(self.run_dir, Path(settings.tensorboard_dir))
        engines = base.vllm_engines or []
        ds = self.args.ds
        gpus = Gpus(
            settings.shares_gpus,
            self.args.vllm.tensor_parallel_size,
            ds.ring_attn_size * ds.tensor_parallel_size,
        )
        self.meter = StepMeter(base.actor_model_group, engines, gpus)
        self.sync_warned = False
        self.first_vllm_kl: float | None = None
        self.engine_watch = watch_for_death("engine-health", lambda: dead_engine(engines), self.run_dir)
        self.experience_maker = DiPOExperienceMaker(
            base.actor_model_group,
            base.critic_model_group,
            base.reward_model_group,
            base.reference_model_group,
            self.kl_ctl,
            self.strategy,
            base.tokenizer,
            dipo_config=dipo_config,
            max_undecided_rate=settings.max_undecided_rate,
            skip_idle=settings.skip_idle,
        )
        clock, maker = self.meter.clock, self.experience_maker
        maker.make_experience = clock.timed("forward", maker.make_experience)
        maker.make_experience_batch = clock.timed("advantages", maker.make_experience_batch)
        base.save_best_checkpoint = clock.timed("save", base.save_best_checkpoint)

    def begin(self, total_steps: int) -> None:
        """Log that training begins, and its number of steps; the first step's time counts from here."""
        self.total_steps = total_steps
        self.meter.clock.take()
        write_event(self.run_dir, TRAINING, total_steps=total_steps)

    def training_state(self) -> dict[str, Any]:
        """What a checkpoint holds beside OpenRLHF's own state; `restore_best_checkpoint_state` reads it."""
        return {
            "queue": self.experience_maker.queue.state_dict(),
            "kl_coef": self.kl_ctl.value,
            "rng": rng_state(),
        }

    def batch_metrics(self) -> dict[str, Any]:
        """What a step logs beside the experience maker's metrics."""
        return {}

    def restore_best_checkpoint_state(self, checkpoint_states: dict[str, Any]) -> None:
        """Restore the perplexity queue and the KL controller as well."""
        super().restore_best_checkpoint_state(checkpoint_states)  # type: ignore[misc]
        state = (checkpoint_states or {}).get(CLIENT_STATE_KEY)
        if state:
            self.experience_maker.queue.load_state_dict(state["queue"])
            self.kl_ctl.value = state.get("kl_coef", self.kl_ctl.value)

    def train_step(self, rollout_samples: list[Any], global_step: int) -> tuple[dict[str, Any], int]:
        """DiPO's metrics join the step's; the rollout's groups are logged."""
        self.experience_maker.progress = min(1.0, global_step / max(1, self.total_steps))
        self.experience_maker.step = global_step + 1
        if self.settings.dump_experiences:
            self.experience_maker.dump_to = self.run_dir
        try:
            status, next_step = super().train_step(rollout_samples, global_step)  # type: ignore[misc]
        except NotFiniteError as error:
            raise divergence.lost_forward(global_step + 1, self.ckpt_path) from error
        status.update(self.experience_maker.metrics)
        status.update(self.batch_metrics())
        self._warn_of_broken_sync(next_step, status.get("vllm_kl"))
        if self.settings.save_rollouts and self.experience_maker.rollouts is not None:
            run_log.append_rollouts(self.run_dir, next_step, self.experience_maker.rollouts)
        return status, next_step

    def _warn_of_broken_sync(self, step: int, found: float | None) -> None:
        """Once in a process. In asynchronous training vllm_kl includes the samples' age, and says nothing of the sync."""
        if self.sync_warned or self.experience_maker.off_policy:
            return
        if self.first_vllm_kl is None:  # of a resumed run it is in the log
            rows = run_log.read_metrics(self.run_dir)
            self.first_vllm_kl = next((row.get("vllm_kl") for row in rows if row["step"] == 1), None)
        text = divergence_limit.warning(step, found, self.args.ds.param_dtype, self.first_vllm_kl)
        if text is not None:
            self.sync_warned = True
            logger.warning("%s", text)
            write_event(self.run_dir, WARNING, text=text)

    def ppo_train(self, global_steps: int) -> dict[str, Any]:
        """OpenRLHF's update; a run that has diverged ends before its weights reach the engines or the disk."""
        with self.meter.clock("update"):
            status: dict[str, Any] = super().ppo_train(global_steps)  # type: ignore[misc]
        try:
            divergence.check_step(status, global_steps + 1, self.args.ds.param_dtype, self.ckpt_path)
        except UserError:
            run_log.append_metrics(
                self.run_dir,
                global_steps + 1,
                {**status, **self.experience_maker.metrics, **self.batch_metrics()},
            )
            raise
        return status


class DiPOTrainer(DiPOTraining, Base):
    """The loop is openrlhf/trainer/ppo_trainer.py, PPOTrainer.fit.

    Args:
        dipo_config: the algorithm's switches. A named parameter, since `**generate_kwargs` swallows all others.
        settings: the run's folder, rotation and identity.
    """

    samples_generator: Any

    def __init__(
        self,
        pretrain: str,
        strategy: Any,
        *args: Any,
        dipo_config: DipoConfig,
        settings: TrainerSettings,
        **generate_kwargs: Any,
    ) -> None:
        # OpenRLHF seeds only the actors: the order of the prompts would be the same for every train.seed.
        set_seed(strategy.args.train.seed)
        super().__init__(pretrain, strategy, *args, **generate_kwargs)
        self.set_up(dipo_config, settings)
        seed = self.args.train.seed if settings.seeded_rollouts else None
        self.samples_generator = rollout_generator(
            self.samples_generator, dipo_config, seed, settings.log_vllm_kl
        )
        clock, generator = self.meter.clock, self.samples_generator
        generator.generate_samples = clock.timed("generate", generator.generate_samples)
        base: Any = self
        base.evaluate = clock.timed("evaluate", base.evaluate)

    def get_max_steps(self) -> int:
        """Updates of the whole run, for which the actors make their schedule."""
        return int(self.samples_generator.run_length.updates)

    def fit(self, global_step: int = 0) -> None:
        """OpenRLHF's loop; the number of steps is logged first (an upper bound where prompts are refilled)."""
        self.begin(self.samples_generator.run_length.steps)
        super().fit(global_step)
        self.engine_watch.set()  # the engines end with the run
        self.save_final_checkpoint()
        write_event(self.run_dir, SAVING)

    def train_step(self, rollout_samples: list[Any], global_step: int) -> tuple[dict[str, Any], int]:
        """The schedule's place is the batch's."""
        self.experience_maker.place = self.samples_generator.place
        return super().train_step(rollout_samples, global_step)

    def broadcast_to_vllm(self) -> None:
        """OpenRLHF's, timed."""
        with self.meter.clock("sync"):
            super().broadcast_to_vllm()

    def restore_best_checkpoint_state(self, checkpoint_states: dict[str, Any]) -> None:
        """Also the position of the prompts' seeds and this process's random number generators."""
        super().restore_best_checkpoint_state(checkpoint_states)
        states = checkpoint_states or {}
        self.samples_generator.position = states.get("total_consumed_prompts", 0)
        self.samples_generator.rng = states.get(CLIENT_STATE_KEY, {}).get("rng")

    def save_logs_and_checkpoints(
        self,
        global_step: int,
        logs_dict: dict[str, Any] | None = None,
        client_states: dict[str, Any] | None = None,
    ) -> None:
        """The episode's number follows its data: an exhausted data loader is saved as restarted, and a resume in the same
        episode would train all its prompts a second time.
        """
        states = dict(client_states or {})
        states["episode"] = states.get("episode", 0) + self.samples_generator.is_exhausted
        super().save_logs_and_checkpoints(global_step, logs_dict, states)

    def batch_metrics(self) -> dict[str, Any]:
        """Of refilling, where the recipe enables it."""
        return self.samples_generator.metrics if isinstance(self.samples_generator, RefillGenerator) else {}
