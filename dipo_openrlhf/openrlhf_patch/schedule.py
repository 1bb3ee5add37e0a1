"""The learning rate's schedule: made for the optimizer steps that a run takes, and never climbing past its end.

openrlhf/trainer/ppo_trainer.py, prepare_datasets counts prompts * samples // train.batch_size an episode: fewer steps
than are taken where a batch ends in a window that is not full, as the last of an episode may. And past its end
transformers/optimization.py, _get_cosine_schedule_with_warmup_lr_lambda returns to its peak.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import openrlhf.utils.deepspeed.deepspeed as strategy


@dataclass(frozen=True)
class RunLength:
    """All that a run trains, resumed or not; where prompts are refilled or filtered an upper bound, else exact.

    prompts: of one episode. batch: rollout.batch_size. window: prompts of one optimizer step. epochs: train.max_epochs.
    """

    prompts: int
    batch: int
    window: int
    episodes: int = 1
    epochs: int = 1

    @classmethod
    def of(cls, args: Any, prompts: int) -> RunLength:
        """From OpenRLHF's arguments and the length of its data loader, which has one prompt a batch."""
        window = max(1, args.train.batch_size // args.rollout.n_samples_per_prompt)
        return cls(prompts, args.rollout.batch_size, window, args.train.num_episodes, args.train.max_epochs)

    @property
    def steps(self) -> int:
        """Rollout batches, of which an episode's last may be smaller."""
        return -(-self.prompts // self.batch) * self.episodes

    @property
    def updates(self) -> int:
        """Optimizer steps: the windows of every batch (partition.py, shuffled_windows), epoch for epoch."""
        whole, rest = divmod(self.prompts, self.batch)
        windows = whole * -(-self.batch // self.window) + -(-rest // self.window)
        return windows * self.episodes * self.epochs

    def place(self, consumed: int) -> int:
        """Where the schedule stands when so many of the run's prompts are used up, in however many updates."""
        total = self.prompts * self.episodes
        return self.updates * min(consumed, total) // max(1, total)


def held_at_its_end(get_scheduler: Callable[..., Any]) -> Callable[..., Any]:
    """transformers' `get_scheduler`, whose schedulers keep their last learning rate from num_training_steps on."""

    def build(*args: Any, num_training_steps: int, **options: Any) -> Any:
        def held(rate: Callable[[int], float]) -> Callable[[int], float]:
            # cosine_warmup_with_min_lr is at its minimum one step earlier than the others.
            early = rate(num_training_steps) > rate(num_training_steps - 1)
            last = num_training_steps - early
            return lambda step: rate(min(step, last))

        scheduler = get_scheduler(*args, num_training_steps=num_training_steps, **options)
        scheduler.lr_lambdas = [held(rate) for rate in scheduler.lr_lambdas]
        return scheduler

    return build


def install() -> None:
    """In an actor's process, before its optimizer is made; once."""
    if strategy.get_scheduler.__module__ != __name__:
        strategy.get_scheduler = held_at_its_end(strategy.get_scheduler)


def advance(scheduler: Any, place: int | None) -> None:
    """Bring a scheduler that is behind `place` there; the next update has that place's learning rate."""
    if place is not None and place > scheduler.last_epoch:
        scheduler.last_epoch = place - 1
        scheduler.step()
