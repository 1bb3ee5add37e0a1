"""MaxRL: the gradient of log p, the prompt's success rate, in the place of that of p.

A_i = (b_i - mean(b)) / mean(b), b the correctness: a prompt solved once in G gets G times GRPO's numerator. 0 where no
response is correct, and where all are. The mean over G responses is an unbiased gradient of log p cut after its first
G terms, log p = -sum_k (1 - p)^k / k. Source: arXiv 2602.02710; the same in tajwarfahim/maxrl,
`verl/trainer/ppo/core_algos.py`, which adds 1e-6 to the denominator, and in PrimeIntellect-ai/prime-rl,
`src/prime_rl/orchestrator/algo/max_rl.py`, which adds nothing, as here. Clip and token mean are those of
tajwarfahim/maxrl. The paper's rewards are 0 and 1, so correctness is read and no shaped reward.
"""

from __future__ import annotations

import torch

from dipo_openrlhf.algorithm.advantages import spread_over_tokens
from dipo_openrlhf.algorithm.method import Method, Rollout


def maxrl_advantages(correct_PG: torch.Tensor) -> torch.Tensor:
    """(b - mean) / mean [P, G] float32; exact zeros for a group without a correct response, or of correct ones alone."""
    b_PG = correct_PG.detach().float()
    rate_P1 = b_PG.mean(-1, keepdim=True)
    return torch.where(rate_P1 > 0, (b_PG - rate_P1) / rate_P1, 0.0)


def _advantages(rollout: Rollout) -> torch.Tensor:
    return spread_over_tokens(maxrl_advantages(rollout.correct_PG), rollout.action_mask_PGA)


METHOD = Method(
    name="maxrl", source="https://arxiv.org/abs/2602.02710", advantages=_advantages, reads_correctness=True
)
