"""LENS by hand, and what holds for any group."""

from __future__ import annotations

import math
from typing import cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dipo_openrlhf.algorithm import group_advantages, methods
from dipo_openrlhf.algorithm.method import Rollout
from dipo_openrlhf.algorithm.methods.lens import Importance, lens_advantages, lens_rewards

RESPONSES = st.lists(
    st.tuples(st.booleans(), st.floats(0.001, 5), st.integers(1, 4000)), min_size=2, max_size=8
)


def log_ppl(*likelihoods: float) -> torch.Tensor:
    """Of responses with these length-normalised likelihoods."""
    return torch.tensor([[-math.log(u) for u in likelihoods]], dtype=torch.float64)


def test_an_all_incorrect_group_by_hand() -> None:
    none, two = torch.tensor([[False, False]]), torch.tensor([[2, 2]])
    rewards = lens_rewards(none, log_ppl(0.6, 0.3), two)
    # D = 2 * 0.6 = 1.2; -(1/2) * 0.6 / 0.6 = -1/2 and -(1/2) * 0.3 / 0.9 = -1/6
    assert rewards[0].tolist() == pytest.approx([-1 / 2, -1 / 6])
    # mean -1/3; 0.25 * (-1/6) = -1/24: the likelier one is pushed down, the other up
    assert lens_advantages(rewards, none)[0].tolist() == pytest.approx([-1 / 24, 1 / 24])


@pytest.mark.parametrize(
    ("importance", "tokens", "reward"),
    [
        ("normalised", 3, -1 / 33),  # D_imp = 1 / ((1/0.8) / 3) = 2.4 > 2 * 0.8; 0.2 / 2.2 = 1/11; / 3
        ("sequence", 1, -1 / 33),  # the same: one token
        ("sequence", 2, -5 / 129),  # pi = 0.64, D_imp = 1.92; 0.2 / 1.72 = 5/43; / 3
        ("sequence", 3, -1 / 21),  # pi = 0.512, D_imp = 1.536 < 1.6 = D; 0.2 / 1.4 = 1/7; / 3
        ("sequence", 9000, -1 / 21),  # D_imp is 0 in float64
    ],
)
def test_a_mixed_group_by_hand(importance: Importance, tokens: int, reward: float) -> None:
    correct = torch.tensor([[True, False, False]])
    found = lens_rewards(correct, log_ppl(0.8, 0.2, 0.2), torch.full((1, 3), tokens), importance)
    assert found[0].tolist() == pytest.approx([1, reward, reward])
    advantages = lens_advantages(found, correct)[0].tolist()
    # (2, -1, -1) * (1 - reward) / 3 over the deviation (1 - reward) / sqrt(3)
    root = math.sqrt(3)
    assert advantages == pytest.approx([2 / root, -1 / root, -1 / root])


def test_a_response_without_a_perplexity_and_all_correct_groups() -> None:
    correct = torch.tensor([[False, False], [True, True], [False, False]])
    known = torch.tensor([[math.nan, 0.5], [0.1, 2.0], [math.nan, math.nan]])
    found = lens_rewards(correct, known, torch.ones(3, 2))
    assert found.tolist() == [[0, -0.5], [1, 1], [0, 0]]
    assert lens_advantages(found, correct)[1:].tolist() == [[0, 0], [0, 0]]


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="one shape"):
        lens_rewards(torch.ones(1, 2), torch.ones(1, 3), torch.ones(1, 2))
    with pytest.raises(ValueError, match="importance 'raw'"):
        lens_rewards(torch.ones(1, 2), torch.ones(1, 2), torch.ones(1, 2), cast("Importance", "raw"))


@given(RESPONSES, st.sampled_from(["sequence", "normalised"]))
def test_a_group_with_a_correct_response_keeps_grpo_s_signs(
    group: list[tuple[bool, float, int]], importance
) -> None:
    correct, known, tokens = (torch.tensor([column]) for column in zip(*group, strict=True))
    rewards = lens_rewards(correct, known, tokens, importance)
    assert (rewards[correct] == 1).all()
    wrong = rewards[~correct]
    assert ((wrong <= 0) & (wrong >= -1 / len(group) - 1e-12)).all()
    found = lens_advantages(rewards, correct)
    plain = group_advantages(correct.float())
    if correct.any():
        assert torch.equal(found.sign(), plain.sign())
    # likelier is worse, among the incorrect ones of any group
    order = known[~correct].argsort()
    assert (found[~correct][order].diff() >= -1e-6).all()


def test_the_method_counts_action_tokens() -> None:
    mask = torch.ones(1, 3, 2)
    correct = torch.tensor([[True, False, False]])
    rollout = Rollout(torch.zeros(1, 3), correct, mask, log_ppl(0.8, 0.2, 0.1))
    found = methods.get("lens").advantages(rollout)
    expected = lens_advantages(lens_rewards(correct, rollout.log_ppl_PG, torch.full((1, 3), 2)), correct)
    assert torch.equal(found, expected[..., None] * mask)
