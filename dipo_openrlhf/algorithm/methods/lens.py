"""LENS: an incorrect response costs the more, the likelier it was; all-incorrect groups train by that alone.

Source: arXiv 2510.08696, section 5.1. With b the correctness and u_i = exp(-p_i) the length-normalised likelihood,

    r_i = b_i - (1 - b_i) (1/G) u_i / (D - u_i)
    some correct: D = max(D_imp, 2 max u), D_imp = 1 / mean(b_i / pi_i);   none correct: D = 2 max u

Groups with a correct response get GRPO's advantages of r (all correct: 0); the others 0.25 (r - mean(r)), section 6.
Open: the paper prints D_imp with the likelihood of the whole response, not u. That is far below u for any long response,
so that D is 2 max u; `importance` "normalised" puts u there. Clip 0.2 is the paper's, the mean of each response its
objective, equation 3. Correctness is read, so no shaped reward has an effect.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch

from dipo_openrlhf.algorithm.advantages import group_advantages, spread_over_tokens
from dipo_openrlhf.algorithm.method import Method, Rollout

Importance = Literal["sequence", "normalised"]
NEGATIVE_WEIGHT = 0.25


def lens_rewards(
    correct_PG: torch.Tensor,
    log_ppl_PG: torch.Tensor,
    tokens_PG: torch.Tensor,
    importance: Importance = "sequence",
) -> torch.Tensor:
    """The calibrated rewards r [P, G] float64: 1 for a correct response, between -1/G and 0 for another.

    log_ppl_PG: nats per token; a response without one (NaN) has no penalty and no part in D. tokens_PG: action tokens.
    Raises ValueError for unequal shapes or another `importance`.
    """
    if not correct_PG.shape == log_ppl_PG.shape == tokens_PG.shape:
        shapes = ", ".join(str(tuple(one.shape)) for one in (correct_PG, log_ppl_PG, tokens_PG))
        raise ValueError(f"lens: correct, log_ppl and tokens must have one shape [P, G], not {shapes}")
    if importance not in get_args(Importance):
        raise ValueError(f"lens: importance {importance!r}: must be sequence or normalised")
    b_PG, p_PG = correct_PG.bool(), log_ppl_PG.detach().double()
    known_PG = torch.isfinite(p_PG)
    u_PG = torch.where(known_PG, (-p_PG).exp(), 0.0)
    surprise_PG = p_PG * tokens_PG if importance == "sequence" else p_PG  # -log of the likelihood in D_imp
    counted_PG = torch.where(b_PG & known_PG, surprise_PG, -torch.inf)
    log_mean_P1 = counted_PG.logsumexp(-1, keepdim=True) - torch.tensor(float(b_PG.shape[1])).log()
    d_imp_P1 = torch.where(b_PG.any(-1, keepdim=True), (-log_mean_P1).exp().nan_to_num(posinf=0.0), 0.0)
    d_P1 = torch.maximum(d_imp_P1, 2 * u_PG.amax(-1, keepdim=True))
    penalty_PG = (u_PG / (d_P1 - u_PG)).nan_to_num(nan=0.0) / b_PG.shape[
        1
    ]  # 0 / 0 where no likelihood is known
    return torch.where(b_PG, 1.0, -penalty_PG)


def lens_advantages(
    rewards_PG: torch.Tensor, correct_PG: torch.Tensor, weight: float = NEGATIVE_WEIGHT
) -> torch.Tensor:
    """[P, G] float32 from the calibrated rewards; exact zeros for a group whose rewards are equal."""
    mixed_PG = group_advantages(rewards_PG)
    negative_PG = weight * group_advantages(rewards_PG, "dr_grpo")
    return torch.where(correct_PG.bool().any(-1, keepdim=True), mixed_PG, negative_PG).float()


def _advantages(rollout: Rollout) -> torch.Tensor:
    tokens_PG = rollout.action_mask_PGA.bool().sum(-1)
    rewards_PG = lens_rewards(rollout.correct_PG, rollout.log_ppl_PG, tokens_PG)
    return spread_over_tokens(lens_advantages(rewards_PG, rollout.correct_PG), rollout.action_mask_PGA)


METHOD = Method(
    name="lens",
    source="https://arxiv.org/abs/2510.08696",
    advantages=_advantages,
    reduction="response_mean",
    reads_correctness=True,
)
