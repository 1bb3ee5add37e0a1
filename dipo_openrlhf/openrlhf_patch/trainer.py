"""DiPOTrainer: OpenRLHF's trainer with DiPO's experience maker, queue checkpoints and safe rotation.

`PPOTrainer` is a Ray actor class and cannot be subclassed; its plain class can
(`PPOTrainer.__ray_actor_class__`). `launch.py` wraps this one in `ray.remote` again and puts it in OpenRLHF's
place.
"""

from __future__ import annotations

import math
from typing import Any

from openrlhf.trainer.ppo_trainer import PPOTrainer

from dipo_openrlhf.algorithm import DipoConfig
from dipo_openrlhf.events import write_event
from dipo_openrlhf.openrlhf_patch.refill import RefillGenerator, refills
from dipo_openrlhf.openrlhf_patch.settings import TrainerSettings
from dipo_openrlhf.openrlhf_patch.training import DiPOTraining

Base: Any = PPOTrainer.__ray_actor_class__


class DiPOTrainer(DiPOTraining, Base):
    """See openrlhf/trainer/ppo_trainer.py:503 for the loop this runs in.

    Args:
        dipo_config: the algorithm's switches. A named parameter, since `**generate_kwargs` swallows all others.
        settings: the run's folder, rotation and identity.
    """

    def __init__(
        self, *args: Any, dipo_config: DipoConfig, settings: TrainerSettings, **generate_kwargs: Any
    ) -> None:
        super().__init__(*args, **generate_kwargs)
        self.set_up(dipo_config, settings)
        if refills(dipo_config):
            self.samples_generator = RefillGenerator(
                keep_extremes=dipo_config.keep_and_refill,
                refill_cap=dipo_config.refill_cap,
                strategy=self.strategy,
                prompts_dataloader=self.prompts_dataloader,
                eval_dataloader=self.eval_dataloader,
                tokenizer=self.tokenizer,
                vllm_engines=self.vllm_engines,
            )

    def fit(self, global_step: int = 0) -> None:
        """OpenRLHF's loop; says beforehand how many steps there will be (fewer, where prompts are refilled)."""
        per_episode = math.ceil(len(self.prompts_dataloader) / self.args.rollout.batch_size)
        self.total_steps = per_episode * self.args.train.num_episodes
        write_event(self.run_dir, "training", total_steps=self.total_steps)
        super().fit(global_step)
        write_event(self.run_dir, "saving the final model")

    def batch_metrics(self) -> dict[str, Any]:
        """What refilling did, where the recipe asks for it."""
        return self.samples_generator.metrics if isinstance(self.samples_generator, RefillGenerator) else {}
