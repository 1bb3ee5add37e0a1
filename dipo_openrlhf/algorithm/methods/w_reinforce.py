"""W-REINFORCE: a small reward for a correct response, the whole penalty for an incorrect one, no baseline.

A_i = weight where the response is correct, -1 where it is not; weight 0.1. All-correct and all-incorrect groups train as
others do. weight 1 is REINFORCE with rewards of +1 and -1, weight 0 the paper's negative sample reinforcement. Source:
arXiv 2506.01347; the weight in TianHongZXY/RLVR-Decomposed, `run_qwen2.5-math-7b_psr_nsr.sh`, which trains with verl's
clip of 0.2 and token mean, as here. Correctness is read, so no shaped reward has an effect.
"""

from __future__ import annotations

import torch

from dipo_openrlhf.algorithm.advantages import spread_over_tokens
from dipo_openrlhf.algorithm.method import Method, Rollout


def w_reinforce_advantages(correct_PG: torch.Tensor, weight: float = 0.1) -> torch.Tensor:
    """[P, G] float32. Raises ValueError for a weight outside [0, 1]."""
    if not 0 <= weight <= 1:
        raise ValueError(f"w_reinforce: weight = {weight}: must lie in [0, 1]")
    return torch.where(correct_PG.bool(), weight, -1.0).float()


def _advantages(rollout: Rollout) -> torch.Tensor:
    return spread_over_tokens(w_reinforce_advantages(rollout.correct_PG), rollout.action_mask_PGA)


METHOD = Method(
    name="w_reinforce",
    source="https://arxiv.org/abs/2506.01347",
    advantages=_advantages,
    reads_correctness=True,
)
