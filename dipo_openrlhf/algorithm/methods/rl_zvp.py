"""RL-ZVP: zero-variance groups train by the entropy of each token. arXiv 2509.21880."""

from __future__ import annotations

import torch

from dipo_openrlhf.algorithm.advantages import group_advantages, spread_over_tokens, zero_variance_groups
from dipo_openrlhf.algorithm.method import Method, Rollout


def rl_zvp_advantages(
    rewards_PG: torch.Tensor,
    correct_PG: torch.Tensor,
    token_entropy_PGA: torch.Tensor,
    action_mask_PGA: torch.Tensor,
    alpha: float = 0.10,
) -> torch.Tensor:
    """[P, G, A]: a normal group as in GRPO; in a zero-variance group, on each action token t,

        all correct: A_t = alpha * H_t            all incorrect: A_t = -alpha * (max_k H_k - H_t)

    with H the full-vocabulary entropy in nats, detached, and the maximum over the response's own action tokens.
    Source: "No Prompt Left Behind", arXiv 2509.21880, section 3. A zero-variance group of equal rewards but unequal
    correctness is of neither kind and gets nothing. Raises ValueError when shapes disagree.
    """
    if token_entropy_PGA.shape != action_mask_PGA.shape or not (
        token_entropy_PGA.shape[:2] == rewards_PG.shape == correct_PG.shape
    ):
        raise ValueError(
            f"rl_zvp: rewards {tuple(rewards_PG.shape)}, token_entropy {tuple(token_entropy_PGA.shape)} and "
            f"action_mask {tuple(action_mask_PGA.shape)} must be [P, G], [P, G, A], [P, G, A]"
        )
    mask_PGA = action_mask_PGA != 0
    base_PGA = spread_over_tokens(group_advantages(rewards_PG), mask_PGA)
    if token_entropy_PGA.numel() == 0:
        return base_PGA
    # entropy is >= 0, so 0 wins no maximum
    entropy_PGA = torch.where(mask_PGA, token_entropy_PGA.detach().float(), 0.0)
    deficit_PGA = entropy_PGA.amax(-1, keepdim=True) - entropy_PGA
    all_correct_P, all_incorrect_P = correct_PG.bool().all(1), ~correct_PG.bool().any(1)
    shaped_PGA = torch.where(all_correct_P[:, None, None], alpha * entropy_PGA, -alpha * deficit_PGA)
    shaped_PGA = shaped_PGA * mask_PGA * (all_correct_P | all_incorrect_P)[:, None, None]
    return torch.where(zero_variance_groups(rewards_PG)[:, None, None], shaped_PGA, base_PGA)


def _advantages(rollout: Rollout) -> torch.Tensor:
    return rl_zvp_advantages(
        rollout.rewards_PG, rollout.correct_PG, rollout.entropy(), rollout.action_mask_PGA
    )


METHOD = Method(
    name="rl_zvp",
    source="https://arxiv.org/abs/2509.21880",
    advantages=_advantages,
    clip_low=0.2,
    clip_high=0.28,
    needs_entropy=True,
)
