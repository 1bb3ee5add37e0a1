"""DiPOTrainer: OpenRLHF's trainer with DiPO's experience maker, queue checkpoints and safe rotation.

`PPOTrainer` is a Ray actor class and cannot be subclassed; its plain class can
(`PPOTrainer.__ray_actor_class__`). `driver.py` wraps this one in `ray.remote` again and puts it in OpenRLHF's
place.
"""

from __future__ import annotations

from typing import Any

from openrlhf.trainer.ppo_trainer import PPOTrainer
from transformers import set_seed

from dipo_openrlhf.algorithm import DipoConfig
from dipo_openrlhf.openrlhf_patch.rollouts.refill import RefillGenerator, rollout_generator
from dipo_openrlhf.openrlhf_patch.settings import TrainerSettings
from dipo_openrlhf.openrlhf_patch.training import CLIENT_STATE_KEY, DiPOTraining
from dipo_openrlhf.record.events import write_event

Base: Any = PPOTrainer.__ray_actor_class__


class DiPOTrainer(DiPOTraining, Base):
    """See openrlhf/trainer/ppo_trainer.py:503 for the loop this runs in.

    Args:
        dipo_config: the algorithm's switches. A named parameter, since `**generate_kwargs` swallows all others.
        settings: the run's folder, rotation and identity.
    """

    def __init__(
        self,
        pretrain: str,
        strategy: Any,
        *args: Any,
        dipo_config: DipoConfig,
        settings: TrainerSettings,
        **generate_kwargs: Any,
    ) -> None:
        # OpenRLHF seeds the actors alone: the order of the prompts would be the same for every train.seed.
        set_seed(strategy.args.train.seed)
        super().__init__(pretrain, strategy, *args, **generate_kwargs)
        self.set_up(dipo_config, settings)
        self.samples_generator = rollout_generator(
            dipo_config,
            seed=self.args.train.seed if settings.seeded_rollouts else None,
            strategy=self.strategy,
            prompts_dataloader=self.prompts_dataloader,
            eval_dataloader=self.eval_dataloader,
            tokenizer=self.tokenizer,
            vllm_engines=self.vllm_engines,
        )

    def fit(self, global_step: int = 0) -> None:
        """OpenRLHF's loop; says beforehand how many steps there will be (fewer, where prompts are refilled)."""
        self.total_steps = self.samples_generator.total_steps
        write_event(self.run_dir, "training", total_steps=self.total_steps)
        super().fit(global_step)
        self.engine_watch.set()  # the engines end with the run
        write_event(self.run_dir, "saving the final model")

    def restore_best_checkpoint_state(self, checkpoint_states: dict[str, Any]) -> None:
        """Also where the prompts' seeds and this process's generators go on."""
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
        """The episode's number follows its data: a loader that is through is saved as one that begins anew, and a resume
        in the same episode would train all its prompts a second time.
        """
        states = dict(client_states or {})
        states["episode"] = states.get("episode", 0) + self.samples_generator.is_through
        super().save_logs_and_checkpoints(global_step, logs_dict, states)

    def batch_metrics(self) -> dict[str, Any]:
        """What refilling did, where the recipe asks for it."""
        return self.samples_generator.metrics if isinstance(self.samples_generator, RefillGenerator) else {}
