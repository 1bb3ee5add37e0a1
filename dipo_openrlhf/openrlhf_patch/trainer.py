"""OpenRLHF's trainer with DiPO's experience maker, queue checkpoints, safe rotation and logs.

DiPOTraining is what both training loops share; DiPOTrainer is the synchronous one (trainer_async.py has the other).
`PPOTrainer` is a Ray actor class and cannot be subclassed; its plain class (`__ray_actor_class__`) can, and driver.py
wraps ours in `ray.remote` again.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from openrlhf.trainer.ppo_trainer import PPOTrainer
from transformers import set_seed

from dipo_eval.errors import UserError
from dipo_eval.files.lease import LeaseObserver
from dipo_eval.subject.checkpoints import weights_hash
from dipo_openrlhf.algorithm import DipoConfig
from dipo_openrlhf.algorithm.perplexity import NotFiniteError
from dipo_openrlhf.openrlhf_patch import divergence, trackers
from dipo_openrlhf.openrlhf_patch.actor import rng_state
from dipo_openrlhf.openrlhf_patch.experience_maker import DiPOExperienceMaker
from dipo_openrlhf.openrlhf_patch.health import dead_engine, watch_for_death
from dipo_openrlhf.openrlhf_patch.refill import RefillGenerator, rollout_generator
from dipo_openrlhf.openrlhf_patch.settings import TrainerSettings
from dipo_openrlhf.record import checkpoints, run_log
from dipo_openrlhf.record.events import write_event

logger = logging.getLogger(__name__)

CLIENT_STATE_KEY = "dipo"
Base: Any = PPOTrainer.__ray_actor_class__


class DiPOTraining:
    """To be inherited before an OpenRLHF trainer class, whose `__init__` is followed by `set_up`."""

    args: Any
    strategy: Any
    experience_maker: Any
    kl_ctl: Any

    def set_up(self, dipo_config: DipoConfig, settings: TrainerSettings) -> None:
        """Replace OpenRLHF's experience maker and loggers. To be called after OpenRLHF's own `__init__`."""
        base: Any = self
        self.settings = settings
        self.run_dir = Path(settings.run_dir)
        self.ckpt_path = Path(self.args.ckpt.path)
        self.total_steps = 0
        self.observer = LeaseObserver()
        self.wandb_logger = trackers.start_wandb(self.run_dir, self.args) if settings.wandb else None
        if settings.tensorboard_dir:
            self.tensorboard_logger = trackers.TensorboardTracker(Path(settings.tensorboard_dir))
        engines = base.vllm_engines or []
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
        )

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
        if self.settings.dump_experiences:
            self.experience_maker.dump_to = (self.run_dir, global_step + 1)
        try:
            status, next_step = super().train_step(rollout_samples, global_step)  # type: ignore[misc]
        except NotFiniteError as error:
            raise divergence.lost_forward(global_step + 1, self.ckpt_path) from error
        status.update(self.experience_maker.metrics)
        status.update(self.batch_metrics())
        if self.settings.save_rollouts and self.experience_maker.rollouts is not None:
            run_log.append_rollouts(self.run_dir, next_step, self.experience_maker.rollouts)
        return status, next_step

    def ppo_train(self, global_steps: int) -> dict[str, Any]:
        """OpenRLHF's update; a run that has diverged ends before its weights reach the engines or the disk."""
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

    def save_logs_and_checkpoints(
        self,
        global_step: int,
        logs_dict: dict[str, Any] | None = None,
        client_states: dict[str, Any] | None = None,
    ) -> None:
        """Log, save with the queue in the client state, verify, mark complete, then prune."""
        run_log.append_metrics(self.run_dir, global_step, logs_dict or {})
        client_states = dict(client_states or {})
        client_states[CLIENT_STATE_KEY] = self.training_state()
        super().save_logs_and_checkpoints(global_step, logs_dict, client_states)  # type: ignore[misc]
        if global_step % self.args.ckpt.save_steps == 0:
            self.complete_checkpoint(global_step)

    def complete_checkpoint(self, global_step: int) -> None:
        """All ranks have returned, so both folders are written: check them and the weights, mark, prune.

        Raises UserError for weights that are not finite, before anything is marked or pruned.
        """
        started = time.time()
        tag = checkpoints.tag_of(global_step)
        actor_folder = self.ckpt_path / "_actor" / tag
        if not self.args.ckpt.disable_ds and not any(actor_folder.glob("*optim_states.pt")):
            raise RuntimeError(f"checkpoint {actor_folder} has no optimizer state after its save")
        if not self.args.ckpt.save_hf:
            return
        divergence.check_weights(self.ckpt_path, global_step)
        facts = {
            "weights_hash": weights_hash(self.ckpt_path / f"{tag}_hf"),
            "weights_finite": True,
            "recipe_hash": self.settings.recipe_hash,
            "data_sha256": self.settings.data_sha256,
            "versions": self.settings.versions,
            "save_steps": self.args.ckpt.save_steps,
            "saved": round(started, 3),
        }
        checkpoints.mark_complete(self.ckpt_path, global_step, facts)
        self._wait_for_evaluation(global_step)
        checkpoints.prune(
            self.ckpt_path,
            self.settings.keep_checkpoints,
            keep_exports=self.settings.keep_exports,
            observer=self.observer,
        )

    def _wait_for_evaluation(self, global_step: int) -> None:
        """Only with `watch.wait` in the recipe, and for a limited time."""
        limit = self.settings.wait_for_evaluation
        if not limit or (global_step // self.args.ckpt.save_steps) % self.settings.wait_every:
            return
        write_event(self.run_dir, f"waiting for the evaluation of step {global_step}", timeout=limit + 60)
        if not checkpoints.wait_until_evaluated(self.ckpt_path, global_step, limit):
            logger.warning("step %d was not evaluated within %d s: training goes on", global_step, limit)
        write_event(self.run_dir, "training", total_steps=self.total_steps)


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
        self.samples_generator = rollout_generator(self.samples_generator, dipo_config, seed)

    def fit(self, global_step: int = 0) -> None:
        """OpenRLHF's loop; the number of steps is logged first (an upper bound where prompts are refilled)."""
        self.total_steps = self.samples_generator.total_steps
        write_event(self.run_dir, "training", total_steps=self.total_steps)
        super().fit(global_step)
        self.engine_watch.set()  # the engines end with the run
        write_event(self.run_dir, "saving the final model")

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
