"""NGRPO by hand, what holds for any group, and which groups its sampling replaces."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dipo_openrlhf.algorithm import methods
from dipo_openrlhf.algorithm.method import Rollout
from dipo_openrlhf.algorithm.methods.ngrpo import ngrpo_advantages


def test_by_hand() -> None:
    correct = torch.tensor([[0] * 8, [1] * 8, [1, 1, 1, 0, 0, 0, 0, 0]]).bool()
    found = ngrpo_advantages(correct)
    # R' = eight 0 and a 1: mean 1/9, variance (8/81 + 64/81) / 8 = 1/9, deviation 1/3
    assert found[0].tolist() == pytest.approx([-(1 / 9) / (1 / 3 + 1e-6)] * 8)
    assert found[1].tolist() == [0] * 8
    # R' = four 1 and five 0: mean 4/9, variance (4 * 25/81 + 5 * 16/81) / 8 = 180/648 = 5/18
    deviation = math.sqrt(5 / 18) + 1e-6
    assert found[2].tolist() == pytest.approx([5 / 9 / deviation] * 3 + [-4 / 9 / deviation] * 5)


def test_clip_and_sampling_are_the_repository_s() -> None:
    found = methods.get("ngrpo")
    assert (found.clip_low, found.clip_high, found.reduction) == (0.16, 0.24, "token_mean")
    assert found.dynamic_sampling
    assert [name for name in methods.names() if methods.get(name).keeps_all_incorrect] == ["ngrpo"]


def test_an_all_incorrect_group_trains_on_its_action_tokens() -> None:
    mask = torch.tensor([[[1, 0]] * 8])
    found = methods.get("ngrpo").advantages(
        Rollout(torch.zeros(1, 8), torch.zeros(1, 8), mask, torch.ones(1, 8))
    )
    assert found[0, :, 0].tolist() == pytest.approx([-1 / 3] * 8, rel=1e-5)
    assert found[0, :, 1].tolist() == [0] * 8


@given(st.lists(st.booleans(), min_size=2, max_size=16))
def test_the_baseline_is_above_the_mean(group: list[bool]) -> None:
    """Signs are GRPO's in a mixed group; the sum is below 0 by the imagined response's own advantage."""
    found = ngrpo_advantages(torch.tensor([group]))[0].double()
    if all(group):
        assert found.tolist() == [0] * len(group)
        return
    assert ((found > 0) == torch.tensor(group)).all()
    size, hits = len(group), sum(group)
    mean = (hits + 1) / (size + 1)
    deviation = math.sqrt(((hits + 1) * (1 - mean) ** 2 + (size - hits) * mean**2) / size)
    assert float(found.sum()) == pytest.approx(-(1 - mean) / (deviation + 1e-6), rel=1e-4)
