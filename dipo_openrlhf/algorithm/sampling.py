"""Sampling of responses to many prompts at once, with the log-probability and entropy of each token as it is drawn.

Responses to one prompt sit in groups of up to SEATS, which share the prompt's keys and values: attention reads them once
a group, and a response's own from tensors of their final size. Finished responses leave the batch.

Tensor suffixes: algorithm/__init__.py and decoder.py; here P groups, G seats of a group, R responses not yet finished.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Generator, Tensor

from dipo_openrlhf.algorithm.decoder import as_bias, attention, check_model, encode_prompts, hidden_states

SEATS = 8
"""At most, in a group: a response's query is compared with the keys of all that sit with it, and drops the others'."""
_KEPT = 0.5
"""Groups leave once at most this share of them is unfinished: each time copies all keys and values."""


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
    """Keys and values of each layer, [P, H, K, D]: those of the prompt, then of each step one for each seat."""

    def __init__(
        self, prompts: list[tuple[Tensor, Tensor]], attention_PS: Tensor, seats: int, steps: int
    ) -> None:
        groups, self.filled = attention_PS.shape
        self.seats, self.seat_R = seats, torch.empty(0)
        room = self.filled + seats * steps
        self.layers = [
            [each.new_empty(*each.shape[:2], room, each.shape[3]) for each in pair] for pair in prompts
        ]
        for pair, prompt in zip(self.layers, prompts, strict=True):
            for whole, part in zip(pair, prompt, strict=True):
                whole[:, :, : self.filled] = part
        own_GK = torch.eye(seats, dtype=torch.bool).repeat(1, steps)
        visible = (attention_PS.bool().unsqueeze(1).expand(-1, seats, -1), own_GK.expand(groups, -1, -1))
        self.bias_PGK = as_bias(torch.cat(visible, dim=2), prompts[0][0].dtype)

    def seat(self, group_R: Tensor, slot_R: Tensor) -> Tensor:
        """Where each response sits; groups that nobody sits in may leave. Returns the groups' new numbers."""
        present, group_R = group_R.unique(return_inverse=True)
        if len(present) <= _KEPT * len(self.bias_PGK):
            self.layers = [[each[present] for each in pair] for pair in self.layers]
            self.bias_PGK = self.bias_PGK[present]
        else:
            group_R = present[group_R]
        self.seat_R = group_R * self.seats + slot_R
        return group_R

    def attend(self, index: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        keys, values = self.layers[index]
        end = self.filled + self.seats
        keys[:, :, self.filled : end] = self._seated(key)
        values[:, :, self.filled : end] = self._seated(value)
        mixed = attention(
            self._seated(query), keys[:, :, :end], values[:, :, :end], self.bias_PGK[:, :, :end]
        )
        return mixed.transpose(1, 2).flatten(0, 1)[self.seat_R].unsqueeze(2)

    def _seated(self, each: Tensor) -> Tensor:
        """[R, H, 1, D] as [P, H, G, D], 0 where nobody sits."""
        heads, size = each.shape[1], each.shape[3]
        seated = each.new_zeros(len(self.bias_PGK) * self.seats, heads, size)
        seated[self.seat_R] = each.squeeze(2)
        return seated.view(-1, self.seats, heads, size).transpose(1, 2)


def _groups(prompts: Sequence[Sequence[int]]) -> tuple[list[tuple[int, ...]], Tensor, Tensor]:
    """(the prompt of each group, group [B], seat in it [B])"""
    asked: Counter[tuple[int, ...]] = Counter()
    numbers: dict[tuple[tuple[int, ...], int], int] = {}
    group, seat = [], []
    for prompt in map(tuple, prompts):
        place = asked[prompt]
        asked[prompt] += 1
        group.append(numbers.setdefault((prompt, place // SEATS), len(numbers)))
        seat.append(place % SEATS)
    return [prompt for prompt, _ in numbers], torch.tensor(group), torch.tensor(seat)


@torch.no_grad()
def sample(
    model: Any, prompts: Sequence[Sequence[int]], settings: Settings, generator: Generator
) -> Responses:
    """One response to each prompt, from softmax(logits / temperature), up to the end token, which is an action token.

    What a response draws from is the same random numbers whatever the others do. Raises ValueError for a model of an
    unknown family (decoder.py).
    """
    check_model(model)
    asked, group_R, slot_R = _groups(prompts)
    group_B, width, limit = group_R, max(map(len, asked)), settings.max_new_tokens
    tokens_PS = torch.tensor(
        [[settings.pad_token_id] * (width - len(prompt)) + list(prompt) for prompt in asked]
    )
    lengths_P = torch.tensor([len(prompt) for prompt in asked])
    attention_PS = (torch.arange(width) >= width - lengths_P.unsqueeze(1)).long()

    actions_BA = torch.full((len(prompts), limit), settings.pad_token_id)
    log_probs_BA, entropy_BA = torch.zeros(2, len(prompts), limit)
    mask_BA = torch.zeros(len(prompts), limit, dtype=torch.bool)
    last_PN, encoded = encode_prompts(model, tokens_PS, attention_PS)
    past = _Past(encoded, attention_PS, int(slot_R.max()) + 1, limit)
    states_RN, positions_B, rows_R = last_PN[group_B], lengths_P[group_B], torch.arange(len(prompts))
    for step in range(limit):
        logits_RV = model.lm_head(states_RN).float() / settings.temperature
        uniform_R = torch.rand(len(prompts), generator=generator, dtype=torch.float64)[rows_R]
        token_R, log_probs_BA[rows_R, step], entropy_BA[rows_R, step] = _draw(logits_RV, uniform_R)
        actions_BA[rows_R, step], mask_BA[rows_R, step] = token_R, True
        stay_R = token_R != settings.eos_token_id
        token_R, rows_R, group_R, slot_R = (each[stay_R] for each in (token_R, rows_R, group_R, slot_R))
        if not len(rows_R) or step + 1 == limit:
            break
        group_R = past.seat(group_R, slot_R)
        positions = (positions_B[rows_R] + step).unsqueeze(1)
        states_RN = hidden_states(model, token_R.unsqueeze(1), positions, past.attend)[:, 0]
        past.filled += past.seats
    longest = int(mask_BA.sum(1).max())
    action_mask_BA = mask_BA[:, :longest]
    return Responses(
        torch.cat((tokens_PS[group_B], actions_BA[:, :longest]), 1),
        torch.cat((attention_PS[group_B], action_mask_BA.long()), 1),
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
