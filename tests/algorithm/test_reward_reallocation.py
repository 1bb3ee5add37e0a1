"""reallocate: tables by hand, one test for every switch."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dipo_openrlhf.algorithm import Reallocation, reallocate

HARD, EASY = [0, 0, 0, 0], [1, 1, 1, 1]


def run(p: list[list[float]], b: list[list[int]], threshold: float | None = 1.0, **options) -> Reallocation:  # type: ignore[no-untyped-def]
    return reallocate(torch.tensor(p), torch.tensor(b), threshold, **options)


def test_both_directions_by_hand() -> None:
    found = run(
        [
            [0.2, 0.9, 0.4, 0.3],  # hard, mean 0.45 < 1: confident and incorrect
            [1.2, 0.9, 1.9, 1.1],  # easy, mean 1.275 > 1: unsure and correct
            [1.2, 1.1, 1.9, 1.1],  # hard, high: skipped
            [0.2, 0.1, 0.9, 0.1],  # easy, low: skipped
            [0.2, 0.1, 0.9, 0.1],  # normal
        ],
        [HARD, EASY, HARD, EASY, [0, 1, 0, 1]],
    )
    assert found.fired_P.tolist() == [True, True, False, False, False]
    assert found.rewards_PG.tolist() == [[0, 1, 0, 0], [1, 1, 0, 1], [0] * 4, [0] * 4, [0] * 4]
    assert found.rewards_PG.dtype == torch.float32
    assert found.in_space_P.tolist() == found.fired_P.tolist()


def test_ties_of_the_largest_take_the_lowest_index() -> None:
    found = run([[0.1, 0.5, 0.5, 0.5], [2.0, 2.0, 2.0, 2.0]], [HARD, EASY])
    assert found.rewards_PG.tolist() == [[0, 1, 0, 0], [0, 1, 1, 1]]


def test_a_mean_at_the_threshold_is_in_neither_space() -> None:
    assert run([[0.5, 1.5, 1.0, 1.0]] * 2, [HARD, EASY]).fired_P.tolist() == [False, False]


# one row for each way in which a hard group can lie around the threshold of 1
SPACES = {
    "low": [0.2, 0.9, 0.4, 0.3],
    "mean low, argmax high": [0.2, 1.5, 0.4, 0.3],
    "mean high, two low": [0.2, 5.0, 0.4, 3.0],
    "one low": [0.2, 5.0, 1.4, 3.0],
}


@pytest.mark.parametrize(
    ("group_space", "fired"),
    [
        ("mean", [True, True, False, False]),
        ("all", [True, False, False, False]),
        ("argmax", [True, False, False, False]),
        ("subset", [True, True, True, False]),
    ],
)
def test_group_space(group_space: str, fired: list[bool]) -> None:
    rows = list(SPACES.values())
    assert run(rows, [HARD] * 4, group_space=group_space).fired_P.tolist() == fired


def test_argmax_and_all_differ_for_easy_groups() -> None:
    row = [[0.2, 1.5, 0.4, 0.3]]  # only the largest is in the exploration space
    assert run(row, [EASY], group_space="argmax").fired_P.tolist() == [True]
    assert run(row, [EASY], group_space="all").fired_P.tolist() == [False]
    assert run(row, [EASY], group_space="mean").fired_P.tolist() == [False]
    assert run(row, [EASY], group_space="subset").fired_P.tolist() == [False]  # one alone has no baseline


def test_subset_flips_within_the_space() -> None:
    found = run([[0.2, 5.0, 0.4, 3.0]] * 2, [HARD, EASY], group_space="subset")
    assert found.members_PG.tolist() == [[True, False, True, False], [False, True, False, True]]
    assert found.rewards_PG.tolist() == [[0, 0, 1, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("directions", "fired"),
    [("both", [True, True]), ("hard_only", [True, False]), ("easy_only", [False, True])],
)
def test_directions(directions: str, fired: list[bool]) -> None:
    found = run([[0.1, 0.2, 0.3, 0.4], [2.0, 3.0, 4.0, 5.0]], [HARD, EASY], directions=directions)
    assert found.fired_P.tolist() == fired
    assert found.in_space_P.tolist() == [True, True]
    assert (found.rewards_PG[~found.fired_P] == 0).all()


def test_pick() -> None:
    p, b = [[0.3, 0.1, 0.4, 0.2]], [HARD]
    assert run(p, b, pick="max_ppl").rewards_PG.tolist() == [[0, 0, 1, 0]]
    assert run(p, b, pick="min_ppl").rewards_PG.tolist() == [[0, 1, 0, 0]]
    picks = [
        int(run(p, b, pick="random", generator=torch.Generator().manual_seed(k)).rewards_PG.argmax())
        for k in range(200)
    ]
    assert sorted(set(picks)) == [0, 1, 2, 3]
    assert max(picks.count(k) for k in range(4)) < 80  # expected 50, more than 4 standard deviations
    again = [run(p, b, pick="random", generator=torch.Generator().manual_seed(k)) for k in range(200)]
    assert [int(found.rewards_PG.argmax()) for found in again] == picks


def test_no_threshold_acts_on_every_extreme_group() -> None:
    p = [[0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4], [5.0, 6.0, 7.0, 8.0], [5.0, 6.0, 7.0, 8.0]]
    for group_space in ("mean", "all", "argmax", "subset"):
        found = run(p, [HARD, EASY, HARD, EASY], None, group_space=group_space)
        assert found.fired_P.all()
        assert found.rewards_PG.tolist() == [[0, 0, 0, 1], [1, 1, 1, 0]] * 2


def test_eligible_groups_alone_are_acted_on() -> None:
    p, b = [[0.1, 0.2, 0.3, 0.4]] * 2, [HARD, HARD]
    assert run(p, b, eligible=torch.tensor([False, True])).fired_P.tolist() == [False, True]


def test_responses_without_a_perplexity_take_part_in_nothing() -> None:
    nan = math.nan
    p = [[nan, 0.2, 0.4, nan], [nan, nan, 0.4, nan], [nan] * 4]
    for group_space in ("mean", "all", "argmax", "subset"):
        found = run(p, [HARD] * 3, group_space=group_space)
        assert found.fired_P.tolist() == [True, False, False]
        assert found.rewards_PG.tolist() == [[0, 0, 1, 0], [0] * 4, [0] * 4]
        assert found.members_PG.tolist() == [[False, True, True, False], [False] * 4, [False] * 4]
    easy = run(p, [EASY] * 3, 0.0)
    assert easy.rewards_PG.tolist() == [[0, 1, 0, 0], [0] * 4, [0] * 4]


@given(
    seed=st.integers(0, 10**6),
    prompts=st.integers(0, 6),
    samples=st.integers(0, 6),
    group_space=st.sampled_from(["mean", "all", "argmax", "subset"]),
    directions=st.sampled_from(["both", "hard_only", "easy_only"]),
    pick=st.sampled_from(["max_ppl", "random", "min_ppl"]),
    threshold=st.none() | st.floats(0, 1),
)
@settings(max_examples=400, deadline=None, database=None)
def test_invariants(
    seed: int,
    prompts: int,
    samples: int,
    group_space: str,
    directions: str,
    pick: str,
    threshold: float | None,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    p = torch.rand(prompts, samples, generator=generator).round(decimals=1)
    p[torch.rand(p.shape, generator=generator) < 0.2] = math.nan
    b = (torch.rand(prompts, samples, generator=generator) < 0.5) ^ (torch.rand(prompts, 1) < 0.5)
    b[torch.rand(prompts, generator=generator) < 0.7] = bool(seed % 2)
    found = reallocate(
        p,
        b,
        threshold,
        group_space=group_space,  # type: ignore[arg-type]
        directions=directions,  # type: ignore[arg-type]
        pick=pick,  # type: ignore[arg-type]
        generator=generator,
    )
    assert not (found.fired_P & ~found.in_space_P).any()
    assert not (found.members_PG & torch.isnan(p)).any()
    assert (found.rewards_PG[~found.members_PG] == 0).all()
    for row in range(prompts):
        rewards = found.rewards_PG[row][found.members_PG[row]]
        if not found.fired_P[row]:
            assert rewards.numel() == 0
            continue
        uniform = bool(b[row].all()) or not bool(b[row].any())
        odd_one = 0.0 if bool(b[row].all()) else 1.0
        assert uniform
        assert rewards.numel() >= 2
        assert int((rewards == odd_one).sum()) == 1
        assert directions != ("hard_only" if odd_one == 0.0 else "easy_only")


@given(logits=st.lists(st.floats(-4, 4), min_size=3, max_size=12), hard=st.booleans())
@settings(max_examples=200, deadline=None, database=None)
def test_entropy_goes_up_for_hard_groups_and_down_for_easy_ones(logits: list[float], hard: bool) -> None:
    """The paper's mechanism on a categorical policy, one response an outcome, by its exact derivative."""
    z = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    log_pi = torch.log_softmax(z, 0)
    p = -log_pi.detach()
    found = reallocate(p[None], torch.full((1, len(p)), float(not hard)), None)
    advantages = found.rewards_PG[0].double() - found.rewards_PG.mean()
    step = torch.autograd.grad((advantages * log_pi).sum(), z, retain_graph=True)[0]  # policy gradient
    slope = torch.autograd.grad(-(log_pi.exp() * log_pi).sum(), z)[0]
    change = float((step * slope).sum())
    if float(p.max() - p.min()) > 1e-6:
        assert (change > 0) == hard
    else:
        assert abs(change) < 1e-6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"log_ppl_PG": torch.rand(2, 3)}, r"must be \[P, G\]"),
        ({"log_ppl_PG": torch.rand(4), "correct_PG": torch.rand(4)}, r"must be \[P, G\]"),
        ({"log_ppl_PG": torch.full((2, 2), math.inf)}, "infinite"),
        ({"correct_PG": torch.full((2, 2), 0.5)}, "0 and 1"),
        ({"threshold": math.nan}, "threshold is NaN"),
        ({"eligible": torch.ones(3)}, "eligible"),
        ({"group_space": "median"}, "group_space 'median'"),
        ({"directions": "none"}, "directions 'none'"),
        ({"pick": "max"}, "pick 'max'"),
    ],
)
def test_errors(arguments: dict[str, object], message: str) -> None:
    good = {"log_ppl_PG": torch.rand(2, 2), "correct_PG": torch.zeros(2, 2), "threshold": 1.0}
    with pytest.raises(ValueError, match=message):
        reallocate(**{**good, **arguments})  # type: ignore[arg-type]
