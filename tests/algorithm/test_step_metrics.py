"""The metrics of a step: the exact keys, values by hand, and sums that must agree."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dipo_openrlhf.algorithm import (
    DipoConfig,
    PerplexityQueue,
    dipo_advantages,
    ppl_quantiles,
    quadrant_shares,
)
from dipo_openrlhf.algorithm.metrics import IDLE_REASONS

DOCUMENTED = {
    "threshold_ppl feasible infeasible_reason train_error delta_eis_lower delta_ers_lower queue_size",
    "groups_hard groups_easy groups_normal hard_in_eis easy_in_ers fired_hard fired_easy",
    "quadrant_CL quadrant_CH quadrant_EL quadrant_EH adv_abs_share zero_gradient_share",
    "ppl_correct_p10 ppl_correct_p50 ppl_correct_p90 ppl_error_p10 ppl_error_p50 ppl_error_p90",
    "fire_rate fire_rate_hard fire_rate_easy",
    "idle_reward_variance idle_no_log_ppl idle_infeasible idle_wrong_space idle_direction_off",
}


def table() -> tuple[torch.Tensor, torch.Tensor]:
    """(correct, log_ppl)[6, 4] around a threshold of log 2, in perplexities for the eye."""
    correct = torch.tensor([[0] * 4, [1] * 4, [0] * 4, [1] * 4, [1, 1, 0, 0], [1, 1, 0, 0]])
    ppl = torch.tensor(
        [
            [1.1, 1.2, 1.3, 1.4],  # hard, low: fires
            [3.0, 3.1, 3.2, 3.3],  # easy, high: fires
            [3.0, 3.1, 3.2, 3.3],  # hard, high
            [1.1, 1.2, 1.3, 1.4],  # easy, low
            [1.5, 1.6, 2.4, 2.6],
            [1.5, 1.6, 2.4, 2.6],
        ]
    )
    return correct, ppl.log()


def run(config: DipoConfig) -> dict[str, float | str]:
    correct, p = table()
    queue = PerplexityQueue()
    queue.last_threshold = math.log(2)
    return dipo_advantages(correct.float(), correct, p, config, queue)[1]


def test_keys_are_exactly_those_documented() -> None:
    expected = {f"dipo/{name}" for line in DOCUMENTED for name in line.split()}
    assert set(run(DipoConfig())) == expected


def test_values_by_hand() -> None:
    found = run(DipoConfig(on_infeasible="last"))  # 24 pairs are too few: the queue's log 2 is used
    expected = {
        "threshold_ppl": 2.0,
        "feasible": 0.0,
        "queue_size": 24.0,
        "groups_hard": 2.0,
        "groups_easy": 2.0,
        "groups_normal": 2.0,
        "hard_in_eis": 1.0,
        "easy_in_ers": 1.0,
        "fired_hard": 1.0,
        "fired_easy": 1.0,
        "fire_rate": 0.5,
        "fire_rate_hard": 0.5,
        "fire_rate_easy": 0.5,
        "quadrant_CL": 8 / 24,
        "quadrant_CH": 4 / 24,
        "quadrant_EL": 4 / 24,
        "quadrant_EH": 8 / 24,
        "idle_wrong_space": 2.0,
        "idle_infeasible": 0.0,
        "zero_gradient_share": 2 / 6,
        # base: 8 of sqrt(3)/2; reallocated: two groups of 1.5 + 3 * 0.5, times 0.1
        "adv_abs_share": 0.6 / (0.6 + 8 * math.sqrt(3) / 2),
    }
    assert {key: found[f"dipo/{key}"] for key in expected} == pytest.approx(expected, abs=1e-6)
    assert found["dipo/infeasible_reason"] == "too_few_samples"


def test_feasible_step_has_no_reason() -> None:
    found = run(DipoConfig(min_side_samples=5, confidence=0.6))
    assert (found["dipo/feasible"], found["dipo/infeasible_reason"]) == (1.0, "")
    # 12 correct ones, 8 of them low, against 12 incorrect ones, 8 of them high
    assert found["dipo/train_error"] == pytest.approx(8 / 24)


@pytest.mark.parametrize(
    ("config", "reason", "count"),
    [
        (DipoConfig(), "infeasible", 4),
        (DipoConfig(on_infeasible="last"), "wrong_space", 2),
        (DipoConfig(on_infeasible="last", directions="hard_only"), "direction_off", 1),
        (DipoConfig(psd=False), "wrong_space", 0),
    ],
)
def test_reasons_for_not_acting(config: DipoConfig, reason: str, count: int) -> None:
    assert run(config)[f"dipo/idle_{reason}"] == count


def test_reasons_no_log_ppl_and_reward_variance() -> None:
    correct, p = table()
    p[0, 1:] = math.nan
    rewards = correct.float()
    rewards[1, 0] = 0.9
    found = dipo_advantages(rewards, correct, p, DipoConfig(psd=False), PerplexityQueue())[1]
    assert (found["dipo/idle_no_log_ppl"], found["dipo/idle_reward_variance"]) == (1.0, 1.0)
    assert found["dipo/groups_easy"] == 2.0  # a shaped reward does not make it normal


@given(
    seed=st.integers(0, 10**6),
    directions=st.sampled_from(["both", "hard_only", "easy_only"]),
    psd=st.booleans(),
    group_space=st.sampled_from(["mean", "all", "argmax", "subset"]),
)
@settings(max_examples=150, deadline=None, database=None)
def test_sums_agree(seed: int, directions: str, psd: bool, group_space: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    rates = torch.tensor([0.0, 1.0, 0.5])[torch.randint(0, 3, (16,), generator=generator)]
    correct = torch.rand(16, 4, generator=generator) < rates[:, None]
    p = torch.rand(16, 4, generator=generator) + torch.where(correct, 0.0, 0.6)
    p[torch.rand(p.shape, generator=generator) < 0.1] = math.nan
    rewards = correct.float()
    rewards[torch.rand(p.shape, generator=generator) < 0.02] -= 0.5
    config = DipoConfig(directions=directions, psd=psd, group_space=group_space, min_side_samples=5)  # type: ignore[arg-type]
    advantages, found = dipo_advantages(rewards, correct, p, config, PerplexityQueue())
    value = {key.removeprefix("dipo/"): x for key, x in found.items() if isinstance(x, float)}
    assert value["groups_hard"] + value["groups_easy"] + value["groups_normal"] == 16
    idle = sum(value[f"idle_{reason}"] for reason in IDLE_REASONS)
    uniform = int((correct.all(1) | ~correct.any(1)).sum())
    assert value["fired_hard"] + value["fired_easy"] + idle == uniform
    assert value["zero_gradient_share"] == float((advantages == 0).all(1).float().mean())
    assert value["queue_size"] == int((~torch.isnan(p)).sum())
    shares = [value[f"quadrant_{quadrant}"] for quadrant in ("CL", "CH", "EL", "EH")]
    if math.isnan(value["threshold_ppl"]):
        assert all(math.isnan(share) for share in shares)
    else:
        assert sum(shares) == pytest.approx(1.0)


def test_quantiles_and_quadrants_alone() -> None:
    p = torch.tensor([math.nan, 1.0, 2.0, 3.0])
    assert ppl_quantiles(p) == pytest.approx({"p10": math.exp(1.2), "p50": math.exp(2), "p90": math.exp(2.8)})
    assert all(math.isnan(value) for value in ppl_quantiles(p[:1]).values())
    correct = torch.tensor([True, True, False, False])
    assert quadrant_shares(p, correct, 2.5) == {
        "CL": 1 / 3,
        "CH": 0,
        "EL": 1 / 3,
        "EH": 1 / 3,
    }
    assert all(math.isnan(share) for share in quadrant_shares(p, correct, None).values())
