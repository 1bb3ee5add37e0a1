"""DACE by hand, and what holds for any group."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dipo_openrlhf.algorithm import group_advantages, methods
from dipo_openrlhf.algorithm.method import Rollout
from dipo_openrlhf.algorithm.methods.dace import certainty, dace_advantages, dace_rewards

GROUP = st.lists(st.tuples(st.booleans(), st.floats(-6, 0)), min_size=2, max_size=8)


def test_rewards_by_hand() -> None:
    correct = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]]).bool()
    sure = torch.tensor([[-1.0, -2.0, -1.0, -2.0]]).expand(3, 4)
    found = dace_rewards(correct, sure)
    # difficulty 1/2 > 0.4: certainty costs, b - 0.05 C
    assert found[0].tolist() == pytest.approx([1.05, 1.1, 0.05, 0.1])
    # difficulty 1/4 < 0.4: certainty earns, b + 0.05 C
    assert found[1].tolist() == pytest.approx([0.95, 0.9, 0.95, -0.1])
    # difficulty 1: the less certain response has the larger reward
    assert found[2].tolist() == pytest.approx([0.05, 0.1, 0.05, 0.1])


def test_at_the_threshold_there_is_no_direction() -> None:
    correct = torch.tensor([[1, 1, 1, 0, 0]]).bool()  # difficulty 2/5
    assert torch.equal(dace_rewards(correct, torch.randn(1, 5)), correct.double())


def test_an_unknown_certainty_has_its_group_s_mean() -> None:
    correct = torch.zeros(2, 3).bool()
    found = dace_rewards(correct, torch.tensor([[-1.0, math.nan, -3.0], [math.nan] * 3]))
    assert found[0].tolist() == pytest.approx([0.05, 0.1, 0.15])
    assert found[1].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="one shape"):
        dace_rewards(correct, torch.zeros(2, 4))


def test_rounding_trains_nothing() -> None:
    """A group's deviation would scale differences of 1e-7 nats to advantages of 1."""
    correct = torch.zeros(1, 4).bool()
    noisy = dace_rewards(correct, -1.6 + 1e-7 * torch.randn(1, 4, generator=torch.Generator().manual_seed(0)))
    assert group_advantages(noisy).tolist() == [[0] * 4]
    apart = dace_rewards(correct, torch.tensor([[-1.6, -1.6, -1.6, -1.602]]))
    assert group_advantages(apart)[0].tolist() == pytest.approx([-0.5, -0.5, -0.5, 1.5], rel=1e-3)


def test_both_certainties_and_what_the_method_takes() -> None:
    mask = torch.tensor([[[1, 1, 0], [1, 1, 1]]])
    entropy = torch.tensor([[[0.5, 1.5, 9.0], [1.0, 2.0, 3.0]]])
    correct, log_ppl = torch.zeros(1, 2).bool(), torch.tensor([[0.5, 1.0]])
    rollout = Rollout(torch.zeros(1, 2), correct, mask, log_ppl, entropy)
    assert certainty(rollout).tolist() == [[-0.5, -1]]
    assert certainty(rollout, "entropy").tolist() == [[-1, -2]]  # the masked 9.0 does not count
    found = methods.get("dace").advantages(rollout)
    root = 1 / math.sqrt(2)  # two unequal rewards, whatever their distance
    assert found.flatten().tolist() == pytest.approx([-root, -root, 0, root, root, root], rel=1e-5)
    plain = dace_advantages(rollout, estimator="dr_grpo")
    assert plain[0, :, 0].tolist() == pytest.approx([-0.0125, 0.0125])  # 0.05 * 0.5 / 2


@given(GROUP)
def test_directions(group: list[tuple[bool, float]]) -> None:
    """Among responses of equal correctness the order is certainty's on easy prompts, the reverse on hard ones."""
    correct, sure = (torch.tensor([column]) for column in zip(*group, strict=True))
    found = dace_rewards(correct, sure)
    difficulty = 1 - sum(b for b, _ in group) / len(group)
    for kind in (True, False):
        chosen = correct[0] == kind
        steps = found[0][chosen][sure[0][chosen].argsort()].diff()
        assert (steps >= -1e-12).all() if difficulty < 0.4 else (steps <= 1e-12).all()
    assert ((found - correct.double()).abs() <= 0.05 * 6 + 1e-9).all()


@given(GROUP)
def test_without_a_scale_it_is_grpo(group: list[tuple[bool, float]]) -> None:
    correct, sure = (torch.tensor([column]) for column in zip(*group, strict=True))
    found = dace_rewards(correct, sure, scale=0.0)
    assert torch.equal(group_advantages(found), group_advantages(correct.double()))
