"""NGRPO: one imagined correct response joins each group, so that an all-incorrect group is pushed away from.

A_i = (b_i - mean R') / (std R' + 1e-6), R' = {b_1 .. b_G, 1}, b the correctness and std the sample deviation. An
all-incorrect group of 8 gets -1/3 each, an all-correct one 0. Source: arXiv 2509.18851; sample deviation, epsilon, clip
0.16 / 0.24, token mean and the filter of all-correct groups in nangongrui-ngr/NGRPO, `verl/trainer/ppo/core_algos.py` and
`train_scripts/train_qwen2.5-math-7b_ngrpo.sh`. As there, further prompts take the place of all-correct groups; here at
most `dipo.refill_cap` times the batch. Correctness is read, so the largest reward is 1 on any scale.
"""

from __future__ import annotations

import torch

from dipo_openrlhf.algorithm.advantages import spread_over_tokens
from dipo_openrlhf.algorithm.method import Method, Rollout

EPS = 1e-6


def ngrpo_advantages(correct_PG: torch.Tensor) -> torch.Tensor:
    """[P, G] float32; exact zeros for an all-correct group."""
    b_PG = correct_PG.detach().float()
    with_one = torch.cat([b_PG, torch.ones_like(b_PG[:, :1])], dim=1)
    centred_PG = b_PG - with_one.mean(1, keepdim=True)
    advantages_PG = centred_PG / (with_one.std(1, keepdim=True) + EPS)
    return advantages_PG.masked_fill(correct_PG.bool().all(1, keepdim=True), 0.0)


def _advantages(rollout: Rollout) -> torch.Tensor:
    return spread_over_tokens(ngrpo_advantages(rollout.correct_PG), rollout.action_mask_PGA)


METHOD = Method(
    name="ngrpo",
    source="https://arxiv.org/abs/2509.18851",
    advantages=_advantages,
    clip_low=0.16,
    clip_high=0.24,
    dynamic_sampling=True,
    keeps_all_incorrect=True,
    reads_correctness=True,
)
