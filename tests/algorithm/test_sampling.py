"""What the sampler returns: log-probabilities and entropies as scored, tokens as often as the model says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dipo_openrlhf.algorithm.reference import ReferenceConfig, score_tokens
from dipo_openrlhf.algorithm.sampling import sample

PROMPTS = [[3, 4, 5], [6], [7, 8], [9, 10, 11, 12]]


@pytest.fixture(scope="module")
def model(small_model: Callable[..., Any]) -> Any:
    return small_model(initializer_range=0.1)


def settings(max_new_tokens: int, temperature: float = 1.0) -> ReferenceConfig:
    return ReferenceConfig(1, 0, max_new_tokens=max_new_tokens, temperature=temperature)


@pytest.mark.parametrize("temperature", [0.7, 1.3])
def test_log_probs_and_entropy_are_those_of_scoring(model: Any, temperature: float) -> None:
    prompts = [prompt for prompt in PROMPTS for _ in range(12)]
    found = sample(model, prompts, settings(20, temperature), torch.Generator().manual_seed(0))
    mask = found.action_mask_BA
    assert len(set(mask.sum(1).tolist())) > 5  # so that responses left the batch at several steps
    with torch.no_grad():
        scored = score_tokens(model, found.tokens_BT, found.attention_BT, mask.shape[1], temperature)
    for values, expected in zip((found.log_probs_BA, found.entropy_BA), scored, strict=True):
        torch.testing.assert_close(values[mask], expected[mask], rtol=1e-4, atol=1e-5)
        assert not values[~mask].any()


def test_tokens_come_as_often_as_the_model_says(model: Any) -> None:
    count = 20_000
    found = sample(model, [PROMPTS[0]] * count, settings(2), torch.Generator().manual_seed(1))
    first, second = found.tokens_BT[:, -2:].T
    with torch.no_grad():
        probabilities = torch.softmax(model(input_ids=torch.tensor([PROMPTS[0]])).logits[0, -1], -1)
        token = int(first.mode().values)
        after = torch.softmax(model(input_ids=torch.tensor([[*PROMPTS[0], token]])).logits[0, -1], -1)
    for drawn, expected in ((first, probabilities), (second[first == token], after)):
        counts = torch.bincount(drawn, minlength=16)
        wanted = expected * len(drawn)
        chi_square = ((counts - wanted) ** 2 / wanted)[wanted > 5].sum()
        assert chi_square < 37.7  # the 99.9th percentile with 15 degrees of freedom


def test_a_response_is_the_same_whatever_the_others_do(model: Any) -> None:
    others = [[[7, 8]] * 5, [[9, 10, 11, 12]] * 5]
    rows = []
    for other in others:
        found = sample(model, [PROMPTS[0], *other], settings(20), torch.Generator().manual_seed(3))
        rows.append(found.tokens_BT[0, -found.action_mask_BA.shape[1] :][found.action_mask_BA[0]].tolist())
    assert rows[0] == rows[1]
