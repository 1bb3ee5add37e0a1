"""DiPOTrainer: OpenRLHF's trainer with DiPO's experience maker, queue checkpoints and safe rotation.

`PPOTrainer` is a Ray actor class and cannot be subclassed; its plain class can
(`PPOTrainer.__ray_actor_class__`). `launch.py` wraps this one in `ray.remote` again and puts it in OpenRLHF's
place.
"""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any

from openrlhf.trainer.ppo_trainer import PPOTrainer

from dipo_eval.checkpoints import weights_hash
from dipo_eval.watch.lease import Sightings
from dipo_openrlhf.algorithm import DipoConfig, baselines
from dipo_openrlhf.events import write_event
from dipo_openrlhf.openrlhf_patch import checkpoints, run_log, trackers
from dipo_openrlhf.openrlhf_patch.experience_maker import DiPOExperienceMaker
from dipo_openrlhf.openrlhf_patch.refill import RefillGenerator
from dipo_openrlhf.openrlhf_patch.settings import TrainerSettings

logger = logging.getLogger(__name__)

Base: Any = PPOTrainer.__ray_actor_class__

CLIENT_STATE_KEY = "dipo"


def _samples_dynamically(dipo_config: DipoConfig) -> bool:
    return dipo_config.method != "dipo" and baselines.get(dipo_config.method).dynamic_sampling


class DiPOTrainer(Base):
    """See openrlhf/trainer/ppo_trainer.py:503 for the loop this runs in.

    Args:
        dipo_config: the algorithm's switches. A named parameter, since `**generate_kwargs` swallows all others.
        settings: the run's folder, rotation and identity.
    """

    def __init__(
        self, *args: Any, dipo_config: DipoConfig, settings: TrainerSettings, **generate_kwargs: Any
    ) -> None:
        super().__init__(*args, **generate_kwargs)
        self.settings = settings
        self.run_dir = Path(settings.run_dir)
        self.ckpt_path = Path(self.args.ckpt.path)
        self.total_steps = 0
        self.sightings = Sightings()
        self.wandb_logger = trackers.start_wandb(self.run_dir, self.args) if settings.wandb else None
        if settings.tensorboard_dir:
            self.tensorboard_logger = trackers.TensorboardTracker(Path(settings.tensorboard_dir))
        if dipo_config.keep_and_refill or _samples_dynamically(dipo_config):
            self.samples_generator = RefillGenerator(
                keep_extremes=dipo_config.keep_and_refill,
                refill_cap=dipo_config.refill_cap,
                strategy=self.strategy,
                prompts_dataloader=self.prompts_dataloader,
                eval_dataloader=self.eval_dataloader,
                tokenizer=self.tokenizer,
                vllm_engines=self.vllm_engines,
            )
        self.experience_maker = DiPOExperienceMaker(
            self.actor_model_group,
            self.critic_model_group,
            self.reward_model_group,
            self.reference_model_group,
            self.kl_ctl,
            self.strategy,
            self.tokenizer,
            dipo_config=dipo_config,
            max_undecided_rate=settings.max_undecided_rate,
        )

    def fit(self, global_step: int = 0) -> None:
        """OpenRLHF's loop; says beforehand how many steps there will be (fewer, where prompts are refilled)."""
        per_episode = math.ceil(len(self.prompts_dataloader) / self.args.rollout.batch_size)
        self.total_steps = per_episode * self.args.train.num_episodes
        write_event(self.run_dir, "training", total_steps=self.total_steps)
        super().fit(global_step)
        write_event(self.run_dir, "saving the final model")

    def restore_best_checkpoint_state(self, checkpoint_states: dict[str, Any]) -> None:
        """Restore the perplexity queue as well."""
        super().restore_best_checkpoint_state(checkpoint_states)
        state = (checkpoint_states or {}).get(CLIENT_STATE_KEY)
        if state:
            self.experience_maker.queue.load_state_dict(state["queue"])

    def train_step(self, rollout_samples: list[Any], global_step: int) -> tuple[dict[str, Any], int]:
        """DiPO's metrics join the step's; the rollout's groups are logged."""
        self.experience_maker.progress = min(1.0, global_step / max(1, self.total_steps))
        if self.settings.dump_experiences:
            self.experience_maker.dump_to = (self.run_dir, global_step + 1)
        status, next_step = super().train_step(rollout_samples, global_step)
        status.update(self.experience_maker.metrics)
        if isinstance(self.samples_generator, RefillGenerator):
            status.update(self.samples_generator.metrics)
        if self.settings.save_rollouts and self.experience_maker.rollouts is not None:
            run_log.append_rollouts(self.run_dir, next_step, self.experience_maker.rollouts)
        return status, next_step

    def save_logs_and_checkpoints(
        self,
        global_step: int,
        logs_dict: dict[str, Any] | None = None,
        client_states: dict[str, Any] | None = None,
    ) -> None:
        """Log, save with the queue in the client state, verify, mark complete, then prune."""
        run_log.append_metrics(self.run_dir, global_step, logs_dict or {})
        client_states = dict(client_states or {})
        client_states[CLIENT_STATE_KEY] = {"queue": self.experience_maker.queue.state_dict()}
        super().save_logs_and_checkpoints(global_step, logs_dict, client_states)
        if global_step % self.args.ckpt.save_steps == 0:
            self._complete(global_step)

    def _complete(self, global_step: int) -> None:
        """All ranks have returned, so both folders are written: check, mark, prune."""
        started = time.time()
        tag = checkpoints.tag_of(global_step)
        actor_folder = self.ckpt_path / "_actor" / tag
        if not self.args.ckpt.disable_ds and not any(actor_folder.glob("*optim_states.pt")):
            raise RuntimeError(f"checkpoint {actor_folder} has no optimizer state after its save")
        if not self.args.ckpt.save_hf:
            return
        facts = {
            "weights_hash": weights_hash(self.ckpt_path / f"{tag}_hf"),
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
            sightings=self.sightings,
        )

    def _wait_for_evaluation(self, global_step: int) -> None:
        """Only where the recipe says `watch.wait`; a watcher that does not answer holds nothing up for ever."""
        limit = self.settings.wait_for_evaluation
        if not limit or (global_step // self.args.ckpt.save_steps) % self.settings.wait_every:
            return
        write_event(self.run_dir, f"waiting for the evaluation of step {global_step}", timeout=limit + 60)
        if not checkpoints.wait_until_evaluated(self.ckpt_path, global_step, limit):
            logger.warning("step %d was not evaluated within %d s: training goes on", global_step, limit)
        write_event(self.run_dir, "training", total_steps=self.total_steps)
