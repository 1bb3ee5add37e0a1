"""Make a rollout batch fill complete optimizer windows: drop rows that train nothing, pad, keep the denominator exact.

DeepSpeed takes an optimizer step after every `train.batch_size` samples. A batch that is no multiple of it leaves
gradients that no step applies, or that leak into the next batch's first step. That happens where groups are dropped
(keep_and_refill), where sampling could not fill a batch (dapo), and at the end of the prompts.

A padding row is a copy of a real one with a single action token and advantages of 0, so it has no gradient; but the
token-mean loss divides by all action tokens of the window, padding included. The clipped loss is positively homogeneous
in the advantage, so multiplying the advantages by (real + padding) / real tokens gives exactly the loss without padding,
where the batch is one window.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from openrlhf.trainer.ppo_utils.experience import (
    Experience,
    make_experience_batch,
    remove_padding_in_sequences,
    split_experience_batch,
)


def choose(wanted_P: torch.Tensor, room: int, seed: int) -> torch.Tensor:
    """[P] bool: the wanted groups, or a random choice of `room` of them where there are more."""
    places = wanted_P.nonzero().squeeze(1)
    if len(places) > room:
        generator = torch.Generator().manual_seed(seed)
        places = places[torch.randperm(len(places), generator=generator)[:room]]
    chosen_P = torch.zeros_like(wanted_P)
    chosen_P[places] = True
    return chosen_P


def split_evenly(samples: list[Experience], micro: int, ranks: int, pad: int) -> list[Experience]:
    """Micro-batches of about `micro` samples, the same number for every rank. `pad`: token id.

    Raises RuntimeError for fewer samples than ranks.
    """
    if len(samples) < ranks:
        raise RuntimeError(
            f"a batch of {len(samples)} samples for {ranks} actor ranks: the prompts ran out; "
            "use a number of prompts that is a multiple of rollout.batch_size"
        )
    count = min(-(-len(samples) // (micro * ranks)) * ranks, len(samples) // ranks * ranks)
    bounds = [round(part * len(samples) / count) for part in range(count + 1)]
    return [Experience.concat_experiences(samples[a:b], pad) for a, b in itertools.pairwise(bounds)]


def window_rows(rows: int, train_batch_size: int) -> int:
    """The smallest multiple of `train_batch_size` that holds `rows`, at least one."""
    return max(1, -(-rows // train_batch_size)) * train_batch_size


def fill_windows(
    experiences: Sequence[Experience], kept_B: torch.Tensor, train_batch_size: int, ranks: int
) -> list[Experience]:
    """The kept rows and padding as `ranks` experiences of equal size, long and short rows distributed evenly.

    kept_B: bool, in the order in which the experiences hold their rows. Raises RuntimeError without any row.
    """
    items = [item for experience in experiences for item in split_experience_batch(experience)]
    if not items:
        raise RuntimeError("a training step without a single sample")
    items = remove_padding_in_sequences(items)
    kept = [item for item, keep in zip(items, kept_B.tolist(), strict=True) if keep]
    shortest = min(items, key=lambda item: len(item.sequences))
    padding = [_padding_row(shortest) for _ in range(window_rows(len(kept), train_batch_size) - len(kept))]
    real_tokens = sum(int(item.action_mask.sum()) for item in kept)
    if kept and padding:
        factor = (real_tokens + len(padding)) / real_tokens
        for item in kept:
            item.advantages = item.advantages * factor
    rows = sorted(kept + padding, key=lambda item: len(item.sequences), reverse=True)
    return [_joined(rows[rank::ranks]) for rank in range(ranks)]


def _padding_row(item: Experience) -> Experience:
    mask = torch.zeros_like(item.action_mask)
    mask[int(item.action_mask.argmax())] = 1
    return replace(item, action_mask=mask, advantages=torch.zeros_like(item.advantages), info=dict(item.info))


def _joined(items: list[Experience]) -> Experience:
    batch = make_experience_batch(items)
    batch.info = {key: _stacked(values) for key, values in batch.info.items()}
    return batch


def _stacked(values: Any) -> torch.Tensor:
    """OpenRLHF joins 0-dim tensors to a list; BasePPOTrainer._compute_rollout_stats concatenates tensors."""
    return values if isinstance(values, torch.Tensor) else torch.stack([torch.as_tensor(v) for v in values])


def sample_means(experiences: Sequence[Experience]) -> dict[str, float]:
    """Mean over all samples of each logged figure, under the names OpenRLHF's status gives them.

    Taken before rows are dropped or padded, so that the log describes what was sampled.
    """
    means = {}
    for key in {key for experience in experiences for key in experience.info}:
        parts = [experience.info[key] for experience in experiences if key in experience.info]
        values = torch.cat([torch.as_tensor(part).reshape(-1).float() for part in parts])
        means[key] = values.mean().item()
    for name, key in (("response_length", "response_length_mean"), ("truncated", "truncated_rate")):
        values = torch.cat([getattr(e, name).reshape(-1).float() for e in experiences])
        means[name] = means[f"rollout/{key}"] = values.mean().item()
    if all(experience.rollout_log_probs is not None for experience in experiences):
        gaps = [(e.rollout_log_probs - e.action_log_probs)[e.action_mask.bool()] for e in experiences]
        # As openrlhf/models/loss.py, PolicyLoss.forward, token by token.
        means["vllm_kl"] = torch.cat(gaps).float().mean().item()
    rewards = torch.cat([experience.info["reward"].reshape(-1).float() for experience in experiences])
    means |= {
        "total_length": torch.cat([e.total_length.reshape(-1).float() for e in experiences]).mean().item(),
        "rollout/reward_mean": rewards.mean().item(),
        "rollout/reward_std": rewards.std().item() if len(rewards) > 1 else 0.0,
        "rollout/num_samples": float(len(rewards)),
    }
    return means
