"""RL-ZVP: zero-variance groups train by the entropy of each token."""

from __future__ import annotations

import torch

from dipo_openrlhf.algorithm.advantages import group_advantages, zero_variance_groups
from dipo_openrlhf.algorithm.method import Baseline, Rollout, spread_over_tokens


def rl_zvp_advantages(
    rewards: torch.Tensor,
    correct: torch.Tensor,
    token_entropy: torch.Tensor,
    action_mask: torch.Tensor,
    alpha: float = 0.10,
) -> torch.Tensor:
    """[P, G, A]: a normal group as in GRPO; in a zero-variance group, on each action token t,

        all right: A_t = alpha * H_t            all wrong: A_t = -alpha * (max_k H_k - H_t)

    with H the full-vocabulary entropy, detached, and the maximum over the response's own action tokens.
    Source: arXiv 2509.21880, "No Prompt Left Behind", section 3.

    A zero-variance group of equal rewards but unequal correctness is of neither kind and gets nothing.
    rewards, correct[P, G]; token_entropy[P, G, A] in nats. Raises ValueError when shapes disagree.
    """
    if token_entropy.shape != action_mask.shape or not (
        token_entropy.shape[:2] == rewards.shape == correct.shape
    ):
        raise ValueError(
            f"rl_zvp: rewards {tuple(rewards.shape)}, token_entropy {tuple(token_entropy.shape)} and "
            f"action_mask {tuple(action_mask.shape)} must be [P, G], [P, G, A], [P, G, A]"
        )
    mask = action_mask != 0
    base = spread_over_tokens(group_advantages(rewards), mask)
    if token_entropy.numel() == 0:
        return base
    entropy = torch.where(mask, token_entropy.detach().float(), 0.0)  # entropy is >= 0, so 0 wins no maximum
    deficit = entropy.amax(-1, keepdim=True) - entropy
    all_correct, all_incorrect = correct.bool().all(1), ~correct.bool().any(1)
    shaped = torch.where(all_correct[:, None, None], alpha * entropy, -alpha * deficit)
    shaped = shaped * mask * (all_correct | all_incorrect)[:, None, None]
    return torch.where(zero_variance_groups(rewards)[:, None, None], shaped, base)


def _advantages(rollout: Rollout) -> torch.Tensor:
    return rl_zvp_advantages(rollout.rewards, rollout.correct, rollout.entropy(), rollout.action_mask)


BASELINE = Baseline(
    name="rl_zvp",
    source="https://arxiv.org/abs/2509.21880",
    advantages=_advantages,
    clip_low=0.2,
    clip_high=0.28,
    reduction="token_mean",
    needs_entropy=True,
)
