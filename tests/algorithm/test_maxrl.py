"""MaxRL by hand, and what holds for any group."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from dipo_openrlhf.algorithm import methods
from dipo_openrlhf.algorithm.method import Rollout
from dipo_openrlhf.algorithm.methods.maxrl import maxrl_advantages

GROUPS = st.lists(st.booleans(), min_size=2, max_size=16)


def test_by_hand() -> None:
    correct = torch.tensor([[1, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]]).bool()
    found = maxrl_advantages(correct)
    # mean 1/4: (1 - 1/4) / (1/4) = 3 and (0 - 1/4) / (1/4) = -1
    assert found[0].tolist() == [3, -1, -1, -1]
    # mean 3/4: (1/4) / (3/4) = 1/3 and -1
    torch.testing.assert_close(found[1], torch.tensor([1 / 3, 1 / 3, 1 / 3, -1]))
    assert found[2:].tolist() == [[0] * 4] * 2


def test_tokens_get_their_response_s_advantage_and_no_shaped_reward_is_read() -> None:
    mask = torch.tensor([[[1, 1, 0], [1, 0, 0]]])
    rollout = Rollout(torch.tensor([[0.3, -9.0]]), torch.tensor([[True, False]]), mask, torch.ones(1, 2))
    assert methods.get("maxrl").advantages(rollout).tolist() == [[[1, 1, 0], [-1, 0, 0]]]


@given(GROUPS)
def test_it_is_the_likelihood_s_gradient(group: list[bool]) -> None:
    """Means to 0; incorrect responses get -1 and correct ones 1/rate - 1, however many there are."""
    found = maxrl_advantages(torch.tensor([group]))[0].double()
    assert abs(float(found.sum())) < 1e-4
    rate = sum(group) / len(group)
    for b, advantage in zip(group, found.tolist(), strict=True):
        expected = 0.0 if rate in (0, 1) else (1 / rate - 1 if b else -1.0)
        assert abs(advantage - expected) < 1e-5 * max(1, abs(expected))
