"""group_advantages and dipo_advantages: golden values, OpenRLHF's formula, every switch."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dipo_openrlhf.algorithm import (
    DipoConfig,
    PerplexityQueue,
    ReallocationResult,
    check_disjoint,
    dipo_advantages,
    group_advantages,
    reallocation_advantages,
    zero_variance_groups,
)
from dipo_openrlhf.algorithm.methods import dipo

BIG, SMALL = 2.474874, 0.353553  # of 8: (1 - 1/8) / sqrt(1/8) and (1/8) / sqrt(1/8)


def openrlhf_group_norm(rewards: torch.Tensor) -> torch.Tensor:
    return (rewards - rewards.mean(-1, keepdim=True)) / (rewards.std(-1, keepdim=True) + 1e-9)


def split_batch(prompts: int = 20, samples: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(rewards, correct, log_ppl): correct answers at p 0.5, incorrect ones at 1.5, plus two groups to act on.

    Group 0 is hard and low (0.2 .. 0.9), group 1 easy and high (1.2 .. 1.9); of the others half are correct.
    """
    correct = torch.zeros(prompts, samples)
    correct[:, ::2] = 1
    correct[0], correct[1] = 0, 1
    p = torch.where(correct == 1, 0.5, 1.5) + torch.arange(prompts)[:, None] / 1000
    p[0] = torch.arange(2, 2 + samples) / 10
    p[1] = torch.arange(12, 12 + samples) / 10
    return correct.clone(), correct, p


def step(
    config: DipoConfig, queue: PerplexityQueue | None = None, num_tokens: torch.Tensor | None = None
) -> ReallocationResult:
    rewards, correct, p = split_batch()
    queue = PerplexityQueue() if queue is None else queue
    return reallocation_advantages(rewards, correct, p, config, queue, num_tokens=num_tokens)


def test_the_formula_is_still_openrlhfs() -> None:
    spec = importlib.util.find_spec("openrlhf")
    if spec is None or spec.origin is None:
        pytest.skip("OpenRLHF is not installed")
    source = Path(spec.origin).parent.joinpath("trainer/ppo_utils/experience_maker.py").read_text()
    assert "(rewards - rewards.mean(-1, keepdim=True)) / (rewards.std(-1, keepdim=True) + 1e-9)" in source


@given(seed=st.integers(0, 10**6), prompts=st.integers(1, 6), samples=st.integers(2, 16))
@settings(max_examples=200, deadline=None, database=None)
def test_bit_for_bit_openrlhf_outside_zero_variance(seed: int, prompts: int, samples: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randint(0, 3, (prompts, samples), generator=generator) * 0.7 - 0.1
    rewards[0] = 0.7
    ours, theirs = group_advantages(rewards), openrlhf_group_norm(rewards)
    zero = zero_variance_groups(rewards)
    assert torch.equal(ours[~zero], theirs[~zero])
    assert (ours[zero] == 0).all()
    assert bool(zero[0])


def test_zero_variance_of_a_reward_that_floats_cannot_represent() -> None:
    rewards = torch.full((1, 6), 0.7)
    rewards = torch.cat([rewards, torch.full((1, 6), 0.1)])
    worst = max(float(openrlhf_group_norm(torch.full((1, n), 0.7)).abs().max()) for n in range(2, 17))
    assert worst > 0.5  # what the formula alone gives
    assert torch.equal(group_advantages(rewards), torch.zeros(2, 6))
    assert torch.equal(group_advantages(rewards, "dr_grpo"), torch.zeros(2, 6))


def test_estimators_by_hand() -> None:
    rewards = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    root = math.sqrt(3) / 2
    assert group_advantages(rewards).tolist()[0] == pytest.approx([-root, -root, root, root])
    assert group_advantages(rewards, "dr_grpo").tolist() == [[-0.5, -0.5, 0.5, 0.5]]


def test_groups_of_one_and_none() -> None:
    assert group_advantages(torch.tensor([[3.0], [0.7]])).tolist() == [[0.0], [0.0]]
    assert group_advantages(torch.empty(0, 8)).shape == (0, 8)
    assert group_advantages(torch.empty(2, 0)).shape == (2, 0)


def test_flips_of_eight_by_hand() -> None:
    result = step(DipoConfig())
    assert result.fired_P.nonzero().squeeze(1).tolist() == [0, 1]
    assert result.threshold.feasible
    hard, easy = (10 * result.advantages_r_PG[:2]).tolist()  # alpha is 0.1
    assert hard == pytest.approx([-SMALL] * 7 + [BIG], abs=1e-5)
    assert easy == pytest.approx([SMALL] * 7 + [-BIG], abs=1e-5)
    assert (result.advantages_r_PG[2:] == 0).all()
    assert result.eligible_P.tolist() == result.zero_variance_P.tolist() == [True, True] + [False] * 18


def test_dipo_advantages_is_base_plus_reallocation() -> None:
    rewards, correct, p = split_batch()
    advantages, metrics = dipo_advantages(rewards, correct, p, DipoConfig(), PerplexityQueue())
    result = step(DipoConfig())
    assert torch.equal(advantages, result.base_PG + result.advantages_r_PG)
    assert str(metrics) == str(result.metrics)  # as strings, since NaN differs from itself


@given(seed=st.integers(0, 10**6), psd=st.booleans())
@settings(max_examples=100, deadline=None, database=None)
def test_alpha_zero_is_the_base_method_bit_for_bit(seed: int, psd: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    correct = (torch.rand(6, 8, generator=generator) < torch.tensor([0, 0.5, 1, 0, 0.2, 1])[:, None]).float()
    rewards = correct * 0.7
    config = DipoConfig(alpha=0.0, psd=psd)
    p = torch.rand(6, 8, generator=generator)
    advantages, _ = dipo_advantages(rewards, correct, p, config, PerplexityQueue())
    assert torch.equal(advantages, group_advantages(rewards))
    zero = zero_variance_groups(rewards)
    assert torch.equal(advantages[~zero], openrlhf_group_norm(rewards)[~zero])


def test_alpha_scales() -> None:
    assert torch.allclose(
        step(DipoConfig(alpha=1.0)).advantages_r_PG, 10 * step(DipoConfig()).advantages_r_PG
    )


def test_estimator_switch_applies_to_both_streams() -> None:
    result = step(DipoConfig(estimator="dr_grpo"))
    assert (10 * result.advantages_r_PG[0]).tolist() == pytest.approx([-1 / 8] * 7 + [7 / 8])
    assert result.base_PG[2].tolist() == [0.5, -0.5] * 4


def test_normalizer_switch() -> None:
    tokens = torch.ones(20, 8)
    tokens[1] = 3
    shared = step(DipoConfig(), num_tokens=tokens).advantages_r_PG
    own = step(DipoConfig(normalizer="per_stream"), num_tokens=tokens).advantages_r_PG
    # 20 * 8 + 16 tokens in all, 8 + 24 of them in the two fired groups
    torch.testing.assert_close(own, shared * 176 / 32)
    with pytest.raises(ValueError, match="needs num_tokens"):
        step(DipoConfig(normalizer="per_stream"))


def test_queue_batches_switch() -> None:
    for batches, size in ((1, 160), (2, 320), (3, 480)):
        config, queue = DipoConfig(queue_batches=batches), PerplexityQueue(batches)
        for _ in range(4):
            result = step(config, queue)
        assert result.metrics["dipo/queue_size"] == size


def test_include_current_batch_switch() -> None:
    queue = PerplexityQueue(2)
    config = DipoConfig(include_current_batch=False)
    first = step(config, queue)
    assert (first.threshold.reason, first.metrics["dipo/queue_size"]) == ("empty", 160.0)
    assert not first.fired_P.any()
    shifted = split_batch()[2] + 10.0
    rewards, correct, _ = split_batch()
    second = reallocation_advantages(rewards, correct, shifted, config, queue)
    assert second.threshold == step(DipoConfig()).threshold  # of the first batch alone
    assert second.fired_P.tolist() == [False, True] + [False] * 18  # all of the new batch lies high


def test_confidence_interval_and_side_switches_reach_the_threshold() -> None:
    assert step(DipoConfig(min_side_samples=81)).threshold.reason == "too_few_samples"
    lowers = {
        (interval, confidence): step(
            DipoConfig(interval=interval, confidence=confidence)
        ).threshold.delta_eis_lower
        for interval in ("wilson", "wald", "cluster")
        for confidence in (0.9, 0.99)
    }
    assert len({round(value, 9) for value in lowers.values()}) == 6


def test_on_infeasible_switch() -> None:
    rewards, correct, p = split_batch()
    noise = torch.rand(p.shape, generator=torch.Generator().manual_seed(0))
    unclear = torch.full_like(p, 1.0) + noise * 0.001
    unclear[:2] = p[:2]
    fired = {}
    for mode in ("skip", "last"):
        config, queue = DipoConfig(on_infeasible=mode, queue_batches=1), PerplexityQueue(1)
        passed = reallocation_advantages(rewards, correct, p, config, queue).threshold
        restored = PerplexityQueue(1)
        restored.load_state_dict(queue.state_dict())
        result = reallocation_advantages(rewards, correct, unclear, config, restored)
        assert not result.threshold.feasible
        assert result.metrics["dipo/infeasible_reason"] == "not_significant"
        assert result.threshold.value == (passed.value if mode == "last" else None)
        fired[mode] = result.fired_P.tolist()[:2]
    assert fired == {"skip": [False, False], "last": [True, True]}


def test_last_without_an_earlier_one_does_nothing() -> None:
    result = step(DipoConfig(on_infeasible="last", min_side_samples=1000))
    assert result.threshold.value is None
    assert not result.fired_P.any()


def test_group_space_directions_and_pick_reach_the_reallocation() -> None:
    assert step(DipoConfig(directions="hard_only")).fired_P.tolist()[:2] == [True, False]
    assert step(DipoConfig(directions="easy_only")).fired_P.tolist()[:2] == [False, True]
    assert step(DipoConfig(pick="min_ppl")).advantages_r_PG[0].argmax() == 0
    tau = step(DipoConfig()).threshold.value
    assert tau is not None
    rewards, correct, p = split_batch()
    p[0, -1] = tau + 1.0  # the largest of the hard group is now in the other space, its mean is not
    fired = {
        space: bool(
            reallocation_advantages(
                rewards, correct, p, DipoConfig(group_space=space), PerplexityQueue()
            ).fired_P[0]
        )
        for space in ("mean", "all", "argmax", "subset")
    }
    assert fired == {"mean": True, "all": False, "argmax": False, "subset": True}


def test_subset_has_its_own_baseline() -> None:
    rewards, correct, p = split_batch()
    p[0, 4:] = 9.0
    result = reallocation_advantages(rewards, correct, p, DipoConfig(group_space="subset"), PerplexityQueue())
    # four members: 0.75 / 0.5 and -0.25 / 0.5
    assert (10 * result.advantages_r_PG[0]).tolist() == pytest.approx([-0.5, -0.5, -0.5, 1.5, 0, 0, 0, 0])


def test_random_pick_follows_the_queue_and_survives_a_resume() -> None:
    config = DipoConfig(pick="random", psd=False)
    queue = PerplexityQueue()
    picks = [int(step(config, queue).advantages_r_PG[0].argmax()) for _ in range(12)]
    assert len(set(picks)) > 3
    resumed = PerplexityQueue()
    resumed.load_state_dict(queue.state_dict())
    assert torch.equal(step(config, resumed).advantages_r_PG, step(config, queue).advantages_r_PG)


def test_psd_switch() -> None:
    rewards, correct, p = split_batch()
    p[0], p[1] = p[1].clone(), p[0].clone()  # now both lie in the wrong space
    on = reallocation_advantages(rewards, correct, p, DipoConfig(), PerplexityQueue())
    off = reallocation_advantages(rewards, correct, p, DipoConfig(psd=False), PerplexityQueue())
    assert on.fired_P.tolist()[:2] == [False, False]
    assert off.fired_P.tolist()[:2] == [True, True]


def test_groups_with_shaped_rewards_keep_their_own_gradient() -> None:
    rewards, correct, p = split_batch()
    rewards[0, 3] = -0.5  # an overlong penalty: still all incorrect, no longer zero variance
    result = reallocation_advantages(rewards, correct, p, DipoConfig(psd=False), PerplexityQueue())
    assert result.eligible_P.tolist()[:2] == [False, True]
    assert result.fired_P.tolist()[:2] == [False, True]
    assert (result.advantages_r_PG[0] == 0).all()
    assert result.metrics["dipo/idle_reward_variance"] == 1


def test_equal_rewards_with_different_correctness_are_normal() -> None:
    rewards, correct, p = split_batch()
    rewards[:] = 0.3
    result = reallocation_advantages(rewards, correct, p, DipoConfig(psd=False), PerplexityQueue())
    assert result.zero_variance_P.all()
    assert result.eligible_P.tolist() == [True, True] + [False] * 18


def test_a_response_without_perplexity_gets_nothing_and_is_in_no_baseline() -> None:
    rewards, correct, p = split_batch()
    p[0, 7] = math.nan
    result = reallocation_advantages(rewards, correct, p, DipoConfig(), PerplexityQueue())
    row = (10 * result.advantages_r_PG[0]).tolist()
    assert row[7] == 0
    # of 7: (1 - 1/7) / sqrt(1/7) and (1/7) / sqrt(1/7)
    assert row[:7] == pytest.approx([-0.377964] * 6 + [2.267787], abs=1e-5)


def test_overlapping_streams_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dipo, "group_advantages", lambda rewards, estimator: torch.ones(20, 8))
    with pytest.raises(RuntimeError, match="non-zero advantage in both streams"):
        step(DipoConfig())


def test_check_disjoint() -> None:
    check_disjoint(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    with pytest.raises(RuntimeError, match=r"first at \[0, 1\]"):
        check_disjoint(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 1.0]]))
