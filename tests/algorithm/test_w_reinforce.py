"""W-REINFORCE by hand, and what holds for any group."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dipo_openrlhf.algorithm import methods
from dipo_openrlhf.algorithm.method import Rollout
from dipo_openrlhf.algorithm.methods.w_reinforce import w_reinforce_advantages


def test_by_hand() -> None:
    correct = torch.tensor([[True, False, False], [True, True, True], [False, False, False]])
    found = w_reinforce_advantages(correct)
    tenth = torch.tensor(0.1).item()
    assert found.tolist() == [[tenth, -1, -1], [tenth] * 3, [-1] * 3]
    assert w_reinforce_advantages(correct, weight=0.0)[0].tolist() == [0, -1, -1]
    with pytest.raises(ValueError, match=r"weight = 1\.5"):
        w_reinforce_advantages(correct, weight=1.5)


def test_extreme_groups_train_on_their_tokens_alone() -> None:
    mask = torch.tensor([[[1, 0], [1, 1]]])
    rollout = Rollout(torch.zeros(1, 2), torch.zeros(1, 2).bool(), mask, torch.ones(1, 2))
    assert methods.get("w_reinforce").advantages(rollout).tolist() == [[[-1, 0], [-1, -1]]]


@given(st.lists(st.booleans(), min_size=1, max_size=16), st.floats(0, 1, width=32))
def test_a_response_s_advantage_is_its_own(group: list[bool], weight: float) -> None:
    """No baseline: each value depends on that response alone, and the sum counts correct and incorrect ones."""
    found = w_reinforce_advantages(torch.tensor([group]), weight)[0]
    assert found.tolist() == [weight if b else -1 for b in group]
