"""Sampling of responses to many prompts at once, with the log-probability and entropy of each token as it is drawn.

A prompt that is asked several times is encoded once, keys and values stand in tensors of their final size, and finished
responses leave the batch. Tensor suffixes: algorithm/__init__.py and decoder.py; R responses still in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Generator, Tensor

from dipo_openrlhf.algorithm.decoder import as_bias, check_model, encode_prompts, hidden_states

_KEPT = 0.8
"""The finished leave once at most this share of the batch is unfinished: each time copies all keys and values."""


class Settings(Protocol):
    """What sampling needs of a trainer's settings; the limit in tokens."""

    @property
    def eos_token_id(self) -> int: ...
    @property
    def pad_token_id(self) -> int: ...
    @property
    def max_new_tokens(self) -> int: ...
    @property
    def temperature(self) -> float: ...


class Responses(NamedTuple):
    """Prompts padded left, responses right; log_probs and entropy (nats, whole vocabulary) are 0 on padding."""

    tokens_BT: Tensor
    attention_BT: Tensor
    action_mask_BA: Tensor
    log_probs_BA: Tensor
    entropy_BA: Tensor


class _Past:
    """Keys and values of the prompts and of what was sampled, [R, H, K, D] of each layer, filled up to `length`."""

    def __init__(self, prompts: list[tuple[Tensor, Tensor]], prompt_R: Tensor, room: int) -> None:
        self.length = prompts[0][0].shape[2]
        self.layers = []
        for pair in prompts:
            made = [
                each.new_empty(len(prompt_R), each.shape[1], self.length + room, each.shape[3])
                for each in pair
            ]
            for whole, prompt in zip(made, pair, strict=True):
                whole[:, :, : self.length] = prompt[prompt_R]
            self.layers.append(made)

    def extend(self, index: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self.layers[index]
        keys[:, :, self.length] = key[:, :, 0]
        values[:, :, self.length] = value[:, :, 0]
        return keys[:, :, : self.length + 1], values[:, :, : self.length + 1]

    def keep(self, places: Tensor) -> None:
        self.layers = [[each[places] for each in pair] for pair in self.layers]


@torch.no_grad()
def sample(
    model: Any, prompts: Sequence[Sequence[int]], settings: Settings, generator: Generator
) -> Responses:
    """One response to each prompt, from softmax(logits / temperature), up to the end token, which is an action token.

    What a response draws from is the same random numbers whatever the others do. Raises ValueError for a model of an
    unknown family (decoder.py).
    """
    check_model(model)
    distinct = list(dict.fromkeys(map(tuple, prompts)))
    places = {prompt: place for place, prompt in enumerate(distinct)}
    prompt_B = torch.tensor([places[tuple(prompt)] for prompt in prompts])
    width, limit = max(map(len, distinct)), settings.max_new_tokens
    tokens_PS = torch.tensor([[settings.pad_token_id] * (width - len(p)) + list(p) for p in distinct])
    lengths_P = torch.tensor([len(p) for p in distinct])
    attention_PS = (torch.arange(width) >= width - lengths_P.unsqueeze(1)).long()

    actions_BA = torch.full((len(prompts), limit), settings.pad_token_id)
    log_probs_BA, entropy_BA = torch.zeros(2, len(prompts), limit)
    mask_BA = torch.zeros(len(prompts), limit, dtype=torch.bool)
    last_PN, encoded = encode_prompts(model, tokens_PS, attention_PS)
    past, states_RN, rows_R = _Past(encoded, prompt_B, limit), last_PN[prompt_B], torch.arange(len(prompts))
    alive_R = torch.ones(len(prompts), dtype=torch.bool)
    visible_RK = torch.cat(
        (attention_PS[prompt_B].bool(), torch.ones(len(prompts), limit, dtype=torch.bool)), 1
    )
    bias_RK = as_bias(visible_RK, model.dtype)
    for step in range(limit):
        logits_RV = model.lm_head(states_RN).float() / settings.temperature
        uniform_R = torch.rand(len(prompts), generator=generator, dtype=torch.float64)[rows_R]
        token_R, log_prob_R, spread_R = _draw(logits_RV, uniform_R)
        now = rows_R[alive_R]
        actions_BA[now, step], mask_BA[now, step] = token_R[alive_R], True
        log_probs_BA[now, step], entropy_BA[now, step] = log_prob_R[alive_R], spread_R[alive_R]
        alive_R &= token_R != settings.eos_token_id
        living = int(alive_R.sum())
        if not living or step + 1 == limit:
            break
        if living <= _KEPT * len(rows_R):
            living_R = alive_R.nonzero().squeeze(1)
            past.keep(living_R)
            rows_R, token_R, bias_RK, alive_R = (v[living_R] for v in (rows_R, token_R, bias_RK, alive_R))
        positions_R1 = (lengths_P[prompt_B[rows_R]] + step).unsqueeze(1)
        bias_R1K = bias_RK[:, None, : past.length + 1]
        states_RN = hidden_states(model, token_R.unsqueeze(1), positions_R1, bias_R1K, past.extend)[:, 0]
        past.length += 1
    longest = int(mask_BA.sum(1).max())
    action_mask_BA = mask_BA[:, :longest]
    return Responses(
        torch.cat((tokens_PS[prompt_B], actions_BA[:, :longest]), 1),
        torch.cat((attention_PS[prompt_B], action_mask_BA.long()), 1),
        action_mask_BA, log_probs_BA[:, :longest], entropy_BA[:, :longest],
    )  # fmt: skip


def _draw(logits_RV: Tensor, uniform_R: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(token, its log-probability, entropy of the distribution), each [R]: the token at which the distribution's sum
    passes the uniform number, in double precision for large vocabularies."""
    log_probs_RV = torch.log_softmax(logits_RV, dim=-1)
    probs_RV = log_probs_RV.exp()
    sums_RV = probs_RV.cumsum(-1, dtype=torch.float64)
    passed_R1 = (uniform_R * sums_RV[:, -1]).unsqueeze(1)
    token_R1 = torch.searchsorted(sums_RV, passed_R1, right=True).clamp(max=logits_RV.shape[1] - 1)
    entropy_R = -(probs_RV * log_probs_RV).sum(-1)
    return token_R1.squeeze(1), log_probs_RV.gather(1, token_R1).squeeze(1), entropy_R
