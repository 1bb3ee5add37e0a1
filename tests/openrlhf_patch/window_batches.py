"""Rollout batches of made-up responses, whose rows carry their own number, for the tests of windows."""

from __future__ import annotations

import torch
from openrlhf.trainer.ppo_utils.experience import Experience


def samples(lengths: list[int], prompt: int = 3, seed: int = 0, vocabulary: int = 90) -> list[Experience]:
    """One Experience a response, as the generator makes them; `lengths`: action tokens, 0 allowed.

    The row's number is in info["row"].
    """
    generator = torch.Generator().manual_seed(seed)
    made = []
    for row, length in enumerate(lengths):
        total = prompt + length
        tokens = torch.randint(3, vocabulary, (1, total), generator=generator)
        mask = torch.zeros(1, total - 1, dtype=torch.long)
        mask[:, prompt - 1 :] = 1
        old = -torch.rand(1, total - 1, generator=generator) * mask
        reward = torch.rand(1, generator=generator)
        made.append(
            Experience(
                index=[row],
                sequences=tokens,
                attention_mask=torch.ones(1, total, dtype=torch.long),
                action_mask=mask,
                action_log_probs=old,
                rollout_log_probs=old + 0.05 * torch.randn(1, total - 1, generator=generator) * mask,
                rewards=reward,
                scores=(reward > 0.5).float(),
                response_length=torch.tensor([length]),
                total_length=torch.tensor([total]).float(),
                truncated=torch.tensor([False]),
                prompts=[f"prompt {row}"],
                labels=[f"label {row}"],
                images=[None],
                mm_train_inputs=[None],
                info={"reward": reward.clone(), "row": torch.tensor([float(row)])},
            )
        )
    return made


def scored(
    rows: list[Experience], size: int, order: torch.Tensor | None = None, seed: int = 0
) -> list[Experience]:
    """Micro-batches of `size` rows in any order, padded as OpenRLHF pads, with advantages."""
    generator = torch.Generator().manual_seed(seed + 1)
    order = torch.arange(len(rows)) if order is None else order
    made = []
    for part in order.split(size):
        batch = Experience.concat_experiences([rows[row] for row in part.tolist()], 0)
        mask = batch.action_mask
        batch.advantages = torch.randn(len(part), 1, generator=generator) * mask
        batch.returns = batch.advantages.clone()
        made.append(batch)
    return made


def order_of(batches: list[Experience]) -> torch.Tensor:
    """[B]: where each row belongs among the groups."""
    return torch.tensor([row for batch in batches for row in batch.index])
