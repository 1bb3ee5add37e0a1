"""Where DiPO enters OpenRLHF: the one overridden step between rollouts and the update.

OpenRLHF's order is kept: its own shaping, group normalisation and return come first (`super()`), then DiPO's
reallocated advantages are added. Nothing else of the experience changes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from openrlhf.trainer.ppo_utils.experience import Experience
from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker

from dipo_openrlhf.algorithm import (
    DipoConfig,
    PerplexityQueue,
    check_disjoint,
    correctness,
    reallocation_advantages,
    sequence_log_ppl,
)
from dipo_openrlhf.openrlhf_patch.run_log import Rollouts


def to_groups(rows: Sequence[torch.Tensor], order_B: torch.Tensor, n_samples_per_prompt: int) -> torch.Tensor:
    """[P, G] from per-experience tensors: micro-batches may be balanced, `index` says where each row belongs.

    Mirrors openrlhf/trainer/ppo_utils/experience_maker.py:252 (sorted by original prompt order).
    """
    flat_B = torch.cat([row.detach().cpu().reshape(-1) for row in rows])
    sorted_B = torch.empty_like(flat_B)
    sorted_B[order_B] = flat_B
    return sorted_B.reshape(-1, n_samples_per_prompt)


class DiPOExperienceMaker(RemoteExperienceMaker):
    """OpenRLHF's experience maker plus alpha * A(R_r) on extreme groups.

    Attributes:
        queue: perplexity queue, part of the training state.
        metrics: what the last batch logged (algorithm.md section 6).
        rollouts: the last batch, for the rollout log.
    """

    def __init__(self, *args: Any, dipo_config: DipoConfig, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Other methods log DiPO's view of their groups too, but get nothing added.
        self.dipo_config = dipo_config if dipo_config.method == "dipo" else replace(dipo_config, alpha=0.0)
        self.queue = PerplexityQueue(batches=dipo_config.queue_batches)
        self.metrics: dict[str, Any] = {}
        self.rollouts: Rollouts | None = None

    @torch.no_grad()
    def compute_advantages_and_returns(self, experiences: list[Experience]) -> list[Experience]:
        """Advantages [B, A] of OpenRLHF, exact zeros for zero-variance groups, plus DiPO's.

        Raises:
            RuntimeError: no score for a sample (the reward function failed), or both advantage streams of a
                sample are non-zero, which the algorithm excludes.
        """
        group_size = self.args.rollout.n_samples_per_prompt
        if any(experience.scores is None for experience in experiences):
            raise RuntimeError(
                "a sample has no score: the reward function of reward.remote_url returned none"
            )
        # Before super(): length penalties change rewards in place, never scores (openrlhf.md, trap 1).
        scores_B = [experience.scores.clone() for experience in experiences]

        experiences = super().compute_advantages_and_returns(experiences)

        order_B = torch.tensor(list(itertools.chain.from_iterable(e.index for e in experiences)))
        rewards_PG = to_groups([e.rewards for e in experiences], order_B, group_size).float()
        scores_PG = to_groups(scores_B, order_B, group_size).float()
        log_ppl_PG = to_groups(
            [sequence_log_ppl(e.action_log_probs, e.action_mask) for e in experiences], order_B, group_size
        )
        maxima = [e.info["reward_max"] for e in experiences if "reward_max" in e.info]
        maxima_PG = to_groups(maxima, order_B, group_size).float() if maxima else None
        correct_PG = correctness(scores_PG, self.dipo_config.correct_from, maxima_PG)
        result = reallocation_advantages(rewards_PG, correct_PG, log_ppl_PG, self.dipo_config, self.queue)
        self.metrics = {**result.metrics, "rollout/accuracy": correct_PG.float().mean().item()}
        prompts_B = list(itertools.chain.from_iterable(e.prompts for e in experiences))
        first_of_group = {int(row): prompts_B[i] for i, row in enumerate(order_B) if row % group_size == 0}
        self.rollouts = Rollouts(
            prompts=[first_of_group[row] for row in sorted(first_of_group)],
            correct=correct_PG,
            rewards=rewards_PG,
            log_ppl=log_ppl_PG,
            fired=result.fired,
        )
        self._add(experiences, order_B, result.advantages_r, result.zero_variance)
        return experiences

    def _add(
        self,
        experiences: list[Experience],
        order_B: torch.Tensor,
        advantages_r_PG: torch.Tensor,
        zero_variance_P: torch.Tensor,
    ) -> None:
        """Zero the base stream of zero-variance groups, then add DiPO's, token by token.

        The zeroing is needed: a group of equal rewards that floats cannot represent, such as 0.7, gets
        |A| = 0.92 from OpenRLHF, because its mean differs from its members by one rounding step.
        """
        group_size = advantages_r_PG.shape[1]
        zero_B = zero_variance_P.repeat_interleave(group_size)[order_B]
        added_B = advantages_r_PG.reshape(-1)[order_B]
        start = 0
        for experience in experiences:
            rows = slice(start, start + len(experience.index))
            start = rows.stop
            advantages_BA = experience.advantages
            device, dtype = advantages_BA.device, advantages_BA.dtype
            base_BA = advantages_BA.masked_fill(zero_B[rows].to(device)[:, None], 0.0)
            extra_BA = added_B[rows].to(device, dtype)[:, None] * experience.action_mask
            check_disjoint(base_BA, extra_BA)
            experience.advantages = base_BA + extra_BA
            experience.info["dipo_advantage"] = added_B[rows].clone()
