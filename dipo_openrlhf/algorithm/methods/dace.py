"""DACE: certainty costs reward on prompts that are hard for the policy and earns it on easy ones. arXiv 2509.00125.

R_i = b_i + a C_i, a = 0.05 sgn(0.4 - d), d = 1 - mean(b) the prompt's difficulty, C_i the response's certainty; then
GRPO's advantages of R. The nearest relative of DiPO: direction by the prompt's success, strength by likelihood, but for
each prompt by itself, without a threshold that the batch must support.

Not checked against the paper's text, but against its abstract (which gives the directions) and implementations by others:

* the two constants, which one of them gives as the paper's;
* what C is. The paper says self-certainty, a name for KL(uniform, pi) over the vocabulary, which the actor does not
  return; C here is the mean log-probability of the response's tokens, minus its log-perplexity, which costs nothing and
  is what DiPO reads. `certainty` "entropy" takes minus the mean entropy, KL(pi, uniform) up to a constant, instead;
* GRPO's deviation. In a group of equal b it cancels a, so that an all-incorrect group trains by certainty at full
  strength; `estimator` "dr_grpo" leaves it out, and the strength is a's.
"""

from __future__ import annotations

from typing import Literal

import torch

from dipo_openrlhf.algorithm.advantages import group_advantages, spread_over_tokens
from dipo_openrlhf.algorithm.method import Estimator, Method, Rollout

Certainty = Literal["log_prob", "entropy"]
SCALE, THRESHOLD = 0.05, 0.4
# Nats per token. A group of equal b is divided by its deviation, however small, so that rounding would train as certainty
# does; scoring in bfloat16 alone moves a mean by about as much.
RESOLUTION = 1e-3


def certainty(rollout: Rollout, kind: Certainty = "log_prob") -> torch.Tensor:
    """C [P, G] float64, nats per token, larger where the policy is surer; NaN without action tokens.

    Raises ValueError where the entropies that "entropy" needs were not computed (`Method.needs_entropy`).
    """
    if kind == "log_prob":
        return -rollout.log_ppl_PG.detach().double()
    mask_PGA = rollout.action_mask_PGA != 0
    entropy_PGA = torch.where(mask_PGA, rollout.entropy().double(), 0.0)
    return -entropy_PGA.sum(-1) / mask_PGA.sum(-1)


def dace_rewards(
    correct_PG: torch.Tensor,
    certainty_PG: torch.Tensor,
    scale: float = SCALE,
    threshold: float = THRESHOLD,
) -> torch.Tensor:
    """R [P, G] float64. Raises ValueError for unequal shapes.

    A response of unknown certainty (NaN) has the mean of its group, and all have where they differ by under RESOLUTION.
    """
    if correct_PG.shape != certainty_PG.shape:
        shapes = f"{tuple(correct_PG.shape)} and {tuple(certainty_PG.shape)}"
        raise ValueError(f"dace: correct and certainty must have one shape [P, G], not {shapes}")
    b_PG = correct_PG.detach().double()
    difficulty_P1 = (1 - b_PG).sum(1, keepdim=True) / b_PG.shape[1]
    c_PG = certainty_PG.detach().double()
    mean_P1 = c_PG.nanmean(1, keepdim=True)
    c_PG = torch.where(c_PG.isnan(), mean_P1, c_PG)
    spread_P1 = c_PG.amax(1, keepdim=True) - c_PG.amin(1, keepdim=True)
    c_PG = torch.where(spread_P1 < RESOLUTION, mean_P1, c_PG).nan_to_num(nan=0.0)
    return b_PG + scale * torch.sign(threshold - difficulty_P1) * c_PG


def dace_advantages(
    rollout: Rollout, kind: Certainty = "log_prob", estimator: Estimator = "group_norm"
) -> torch.Tensor:
    """[P, G, A] float32; `kind` and `estimator` are the open points above."""
    rewards_PG = dace_rewards(rollout.correct_PG, certainty(rollout, kind))
    return spread_over_tokens(group_advantages(rewards_PG, estimator).float(), rollout.action_mask_PGA)


METHOD = Method(
    name="dace", source="https://arxiv.org/abs/2509.00125", advantages=dace_advantages, reads_correctness=True
)
