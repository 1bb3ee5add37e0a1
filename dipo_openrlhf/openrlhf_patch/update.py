"""The update on an actor's rank: windows as the trainer composed them, and figures that describe the whole step.

OpenRLHF's replay buffer takes the samples apart and recomposes them by itself; ours keeps the windows of windows.py, in
their order and with their micro-batches, with dynamic batches and without.
"""

from __future__ import annotations

from typing import Any

import openrlhf.trainer.ray.ppo_actor as ppo_actor
import torch
from openrlhf.trainer.ppo_utils.experience import Experience
from openrlhf.trainer.ppo_utils.replay_buffer import NaiveReplayBuffer
from openrlhf.trainer.ray.ppo_actor import ActorPPOTrainer
from openrlhf.utils.loss_utils import get_loss_batch_info
from torch.utils.data import DataLoader

from dipo_openrlhf.openrlhf_patch.partition import even_bounds
from dipo_openrlhf.openrlhf_patch.windows import (
    EPISODE_FIELDS,
    LIST_FIELDS,
    STEP_FIELDS,
    Window,
    row_lengths,
)


class WindowBuffer(NaiveReplayBuffer):
    """OpenRLHF's replay buffer over windows; `items` are (window, row), in the order in which they are trained."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.windows: list[Window] = []
        self.lengths: list[list[int]] = []  # of each row of each window

    def append(self, experience: Window) -> None:
        """Add this rank's share of the next optimizer step."""
        self.items += [(len(self.windows), row) for row in range(len(experience.sequences))]
        self.windows.append(experience)
        self.lengths.append(row_lengths(experience.attention_mask).tolist())

    def clear(self) -> None:
        super().clear()
        self.windows.clear()
        self.lengths.clear()

    def collate_fn(self, batch: list[Any]) -> Experience:
        """The micro-batch of these items: adjacent rows of one window, no wider than the longest of them."""
        items = batch[0] if self.dynamic_batch else batch
        (number, first), (_, last) = items[0], items[-1]
        window, rows = self.windows[number], slice(first, last + 1)
        return _cut(window, rows, spare=window.sequences.shape[1] - max(self.lengths[number][rows]))

    def setup_dynamic_batch(self, strategy: Any) -> None:
        """OpenRLHF's hook before an update with dynamic batches."""
        self.sample_batch_size = 1
        self.compose()

    def compose(self) -> None:
        """Take micro-batches and denominators from the windows: the ranks have nothing to agree on.

        Without dynamic batches as few as hold their rows: each rank has equally many rows of a window.
        """
        self.dynamic_indices, self.dynamic_optimizer_step = [], []
        self.dynamic_sample_loss_scale = []
        self.dynamic_batch_num_tokens, self.dynamic_global_batch_size = [], []
        start = 0
        for window in self.windows:
            rows, most = len(window.sequences), self.sample_batch_size
            sizes = window.micro_batches or [
                end - start for start, end in even_bounds(rows, -(-rows // most))
            ]
            for size in sizes:
                self.dynamic_indices.append(list(range(start, start + size)))
                start += size
            self.dynamic_optimizer_step += [0] * (len(sizes) - 1) + [1]
            self.dynamic_sample_loss_scale += [size / sum(sizes) for size in sizes]
            self.dynamic_batch_num_tokens += [window.action_tokens] * len(sizes)
            self.dynamic_global_batch_size += [window.samples] * len(sizes)


def _cut(window: Window, rows: slice, spare: int) -> Experience:
    """These rows without the last `spare` columns; views, not copies."""
    values: dict[str, Any] = {}
    for name in STEP_FIELDS:
        if (column := getattr(window, name)) is not None:
            values[name] = column[rows, : column.shape[1] - spare]
    for name in EPISODE_FIELDS + LIST_FIELDS:
        if (column := getattr(window, name)) is not None:
            values[name] = column[rows]
    values["info"] = {key: column[rows] for key, column in window.info.items()}
    return Experience(**values)


class WindowUpdate(ActorPPOTrainer):
    """OpenRLHF's update, whose figures are those of the step's windows.

    OpenRLHF logs the loss as a mean over micro-batches, weighted by tokens; but a micro-batch's loss is a partial sum,
    divided by the tokens of its whole window, so that the more micro-batches there are the smaller is the figure. And
    its gradient norm is that of the step's last window: 0 where no group of that one has a gradient.
    """

    def ppo_train(self, kl_ctl: float) -> dict[str, Any]:
        """OpenRLHF's; `actor_grad_norm` is the mean over the step's windows, before clipping."""
        self.grad_norms: list[float] = []
        if not self.args.train.dynamic_batch_enable:  # else OpenRLHF calls setup_dynamic_batch
            self.replay_buffer.compose()
        status: dict[str, Any] = super().ppo_train(kl_ctl)
        if self.grad_norms:
            status["actor_grad_norm"] = sum(self.grad_norms) / len(self.grad_norms)
        return status

    def training_step(
        self,
        experience: Experience,
        kl_ctl: float,
        step: int,
        loss_batch_info: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """OpenRLHF's; the partial sums are scaled so that their mean over samples is the mean loss of the windows.

        DeepSpeed divides a loss by the micro-batches that a full window has, `parts`, however many there are.
        """
        buffer = self.replay_buffer
        last = bool(buffer.dynamic_optimizer_step[step])
        parts = 1 if self.args.train.dynamic_batch_enable else max(1, int(self.strategy.accumulated_gradient))
        info = get_loss_batch_info(
            self.strategy,
            experience.action_mask,
            batch_num_tokens=buffer.dynamic_batch_num_tokens[step] / parts,
            global_batch_size=buffer.dynamic_global_batch_size[step] / parts,
        )
        self.end_window(last)
        status: dict[str, Any] = super().training_step(experience, kl_ctl, step, info)
        metrics, weights = status["metrics"], status["weights"]
        if "actor_grad_norm" in metrics and last:
            self.grad_norms.append(float(metrics["actor_grad_norm"]))
        rows = sum(window.rows for window in buffer.windows) / len(buffer.windows)
        scale = rows / (status["num_samples"] * parts * info["dp_size"])
        sums = ["policy_loss", "entropy_loss", *(["kl"] if self.args.algo.kl.use_loss else [])]
        for name in sums:
            if name in metrics:
                metrics[name], weights[name] = metrics[name] * scale, "sample"
        if self.args.algo.advantage.is_correction_level == "seq" and "is_filter_ratio" in weights:
            weights["is_filter_ratio"] = "sample"
        if not status["num_action_tokens"]:
            # Means over none; and OpenRLHF divides by the tokens of all ranks.
            status["num_action_tokens"] = 1e-9
            for name, value in metrics.items():
                if weights[name] == "token":
                    metrics[name] = torch.zeros_like(value)
        return status

    def end_window(self, last: bool) -> None:
        """Tell DeepSpeed whether the next backward pass is the window's last: it counts passes, and there may be fewer.

        With dynamic batches its gradient_accumulation_steps is 1, so that it takes every pass for the last; and then
        deepspeed/runtime/zero/stage_1_and_2.py, DeepSpeedZeroOptimizer.independent_gradient_partition_epilogue keeps the
        gradient of one micro-batch alone in ZeRO 1 and 2.
        """
        self.actor.model.set_gradient_accumulation_boundary(last)


def in_order(
    buffer: WindowBuffer,
    batch_size: int = 1,
    shuffle: bool = False,
    drop_last: bool = False,
    **options: Any,
) -> DataLoader[Any]:
    """A data loader of the windows' micro-batches, never shuffled: the order of groups is shuffled already."""
    if buffer.dynamic_batch:  # an item is a micro-batch
        return DataLoader(buffer, batch_size=1, **options)
    return DataLoader(buffer, batch_sampler=buffer.dynamic_indices, **options)


def install() -> None:
    """Replace OpenRLHF's update, replay buffer and data loader in this process, before a PolicyModelActor builds them."""
    ppo_actor.ActorPPOTrainer = WindowUpdate
    ppo_actor.NaiveReplayBuffer = WindowBuffer
    ppo_actor.DataLoader = in_order
