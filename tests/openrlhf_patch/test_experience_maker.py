"""DiPO inside OpenRLHF's own experience maker: the real class, no Ray."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from openrlhf.trainer.ppo_utils.experience import Experience
from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker

from dipo_eval.errors import UserError
from dipo_openrlhf.algorithm import DipoConfig
from dipo_openrlhf.openrlhf_patch.experience_maker import DiPOExperienceMaker, to_groups

GROUP = 8


def arguments(**reward) -> SimpleNamespace:
    return SimpleNamespace(
        algo=SimpleNamespace(
            advantage=SimpleNamespace(estimator="group_norm", gamma=1.0, lambd=1.0, no_std_norm=False),
            kl=SimpleNamespace(use_loss=False),
        ),
        rollout=SimpleNamespace(n_samples_per_prompt=GROUP, max_new_tokens=16),
        reward=SimpleNamespace(
            clip_range=(-10, 10),
            overlong_buffer_len=reward.get("overlong_buffer_len"),
            overlong_penalty_factor=1.0,
            stop_properly_penalty_coef=None,
        ),
        data=SimpleNamespace(max_len=64),
    )


def maker(config: DipoConfig | None, **reward):
    strategy = SimpleNamespace(args=arguments(**reward))
    base = (None, None, None, None, SimpleNamespace(value=0.0), strategy, None)
    return RemoteExperienceMaker(*base) if config is None else DiPOExperienceMaker(*base, dipo_config=config)


def batch(
    scores_PG: torch.Tensor, log_ppl_PG: torch.Tensor, *, seed: int = 0, shuffle: bool = False, lengths=None
) -> list[Experience]:
    """Micro-batches of 4 responses; every action token's log-probability is minus the response's log_ppl."""
    generator = torch.Generator().manual_seed(seed)
    count = scores_PG.numel()
    order = torch.randperm(count, generator=generator) if shuffle else torch.arange(count)
    scores_B, log_ppl_B = scores_PG.reshape(-1), log_ppl_PG.reshape(-1)
    if lengths is None:
        lengths = torch.randint(1, 13, (count,), generator=generator)
    experiences = []
    for rows in order.split(4):
        mask_BA = (torch.arange(12)[None, :] < lengths[rows][:, None]).long()
        experiences.append(
            Experience(
                index=rows.tolist(),
                prompts=[f"prompt {int(row) // GROUP}" for row in rows],
                rewards=scores_B[rows].clone(),
                scores=scores_B[rows].clone(),
                action_mask=mask_BA,
                action_log_probs=-log_ppl_B[rows][:, None].expand(-1, 12).clone(),
                kl=torch.zeros(len(rows), 12),
                response_length=lengths[rows],
                info={"reward": scores_B[rows].clone()},
            )
        )
    return experiences


def by_row(experiences: list[Experience], name: str) -> torch.Tensor:
    """[B, A] in prompt order."""
    index = torch.tensor([row for experience in experiences for row in experience.index])
    values = torch.cat([getattr(experience, name) for experience in experiences])
    result = torch.empty_like(values)
    result[index] = values
    return result


def separated(groups: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Correct answers mostly below log-perplexity 1, incorrect ones mostly above; some extreme groups reversed."""
    generator = torch.Generator().manual_seed(5)
    scores = (torch.rand(groups, GROUP, generator=generator) < 0.5).float()
    log_ppl = torch.where(scores == 1, 0.5, 1.5) + 0.1 * torch.randn(groups, GROUP, generator=generator)
    scores[0], log_ppl[0] = 0.0, 0.4 + 0.01 * torch.arange(GROUP)  # hard and confident: in EiS
    scores[1], log_ppl[1] = 1.0, 1.6 + 0.01 * torch.arange(GROUP)  # easy and unsure: in ErS
    scores[2], log_ppl[2] = 0.0, 1.6  # hard and unsure: not acted on
    scores[3], log_ppl[3] = 1.0, 0.4  # easy and confident: not acted on
    return scores, log_ppl


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("shuffle", [False, True])
def test_alpha_zero_is_plain_group_norm_bit_for_bit(seed, shuffle):
    """Except zero-variance groups, whose advantages are exact zeros."""
    generator = torch.Generator().manual_seed(seed)
    scores = (torch.rand(16, GROUP, generator=generator) < 0.4).float()
    log_ppl = torch.rand(16, GROUP, generator=generator) + 0.1
    plain = by_row(
        maker(None).compute_advantages_and_returns(batch(scores, log_ppl, seed=seed, shuffle=shuffle)),
        "advantages",
    )
    dipo = by_row(
        maker(DipoConfig(alpha=0.0)).compute_advantages_and_returns(
            batch(scores, log_ppl, seed=seed, shuffle=shuffle)
        ),
        "advantages",
    )
    zero_B = (scores == scores[:, :1]).all(1).repeat_interleave(GROUP)
    assert torch.equal(dipo[~zero_B], plain[~zero_B])
    assert torch.equal(dipo[zero_B], torch.zeros_like(dipo[zero_B]))


def test_equal_rewards_that_floats_cannot_represent_get_exact_zeros():
    """0.7 eight times: OpenRLHF gives |A| of about 0.9: the mean differs from its members by one rounding step."""
    scores = torch.ones(4, GROUP)
    log_ppl = torch.ones(4, GROUP)
    experiences = batch(scores, log_ppl)
    for experience in experiences:
        experience.rewards = torch.full_like(experience.rewards, 0.7)
    upstream = maker(None).compute_advantages_and_returns(experiences)
    assert by_row(upstream, "advantages").abs().max() > 0.5
    experiences = batch(scores, log_ppl)
    for experience in experiences:
        experience.rewards = torch.full_like(experience.rewards, 0.7)
    ours = maker(DipoConfig()).compute_advantages_and_returns(experiences)
    assert torch.equal(by_row(ours, "advantages"), torch.zeros(32, 12))


@pytest.mark.parametrize("shuffle", [False, True])
def test_acts_on_confident_incorrect_and_unsure_correct_groups(shuffle):
    scores, log_ppl = separated()
    subject = maker(DipoConfig())
    advantages = by_row(
        subject.compute_advantages_and_returns(batch(scores, log_ppl, shuffle=shuffle)), "advantages"
    )
    per_response = advantages[:, 0].reshape(-1, GROUP)
    # n = 8: the flipped response gets 7/8 / std, std = sqrt(1/8); alpha = 0.1 (docs/algorithm.md, The rule).
    flipped, other = 0.1 * 2.4748737, 0.1 * 0.3535534
    expected_hard = torch.tensor([-other] * 7 + [flipped])
    torch.testing.assert_close(per_response[0], expected_hard, atol=1e-6, rtol=0)
    torch.testing.assert_close(per_response[1], -expected_hard, atol=1e-6, rtol=0)
    assert torch.equal(per_response[2:4], torch.zeros(2, GROUP))
    assert subject.metrics["dipo/fired_hard"] == 1
    assert subject.metrics["dipo/fired_easy"] == 1
    assert subject.metrics["rollout/accuracy"] == pytest.approx(scores.mean().item())
    assert subject.rollouts is not None
    assert subject.rollouts.prompts[3] == "prompt 3"


def test_advantages_stay_on_action_tokens():
    scores, log_ppl = separated()
    experiences = maker(DipoConfig()).compute_advantages_and_returns(batch(scores, log_ppl))
    advantages, mask = by_row(experiences, "advantages"), by_row(experiences, "action_mask")
    assert torch.equal(advantages[mask == 0], torch.zeros_like(advantages[mask == 0]))


def test_baseline_methods_get_nothing_added_but_log_the_same():
    scores, log_ppl = separated()
    grpo = maker(DipoConfig(method="grpo"))
    advantages = by_row(grpo.compute_advantages_and_returns(batch(scores, log_ppl)), "advantages")
    assert torch.equal(advantages.reshape(-1, GROUP, 12)[:4], torch.zeros(4, GROUP, 12))
    assert "dipo/threshold_ppl" in grpo.metrics


def test_overlong_penalty_hides_no_hard_group_and_makes_none_eligible():
    """b comes from the score; a group whose shaped rewards differ has a gradient already and is skipped."""
    scores, log_ppl = separated()
    lengths = torch.full((scores.numel(),), 4)
    lengths[: GROUP // 2] = 12  # half of group 0 is overlong: shaped variance
    subject = maker(DipoConfig(), overlong_buffer_len=8)
    advantages = by_row(
        subject.compute_advantages_and_returns(batch(scores, log_ppl, lengths=lengths)), "advantages"
    )[:, 0].reshape(-1, GROUP)
    plain = by_row(
        maker(None, overlong_buffer_len=8).compute_advantages_and_returns(
            batch(scores, log_ppl, lengths=lengths)
        ),
        "advantages",
    )[:, 0].reshape(-1, GROUP)
    assert torch.equal(advantages[0], plain[0])
    assert advantages[0].abs().min() > 0
    assert subject.metrics["dipo/fired_hard"] == 0
    assert subject.metrics["dipo/fired_easy"] == 1
    assert subject.metrics["dipo/groups_hard"] == (scores.sum(1) == 0).sum().item()


def test_a_missing_score_is_an_error():
    experiences = batch(*separated())
    experiences[0].scores = None
    with pytest.raises(RuntimeError, match="has no score"):
        maker(DipoConfig()).compute_advantages_and_returns(experiences)


@pytest.mark.parametrize(("undecided", "stops"), [(0.1, False), (0.4, True)])
def test_a_verifier_that_cannot_decide_stops_the_run(undecided, stops):
    experiences = batch(*separated())
    for row, experience in enumerate(experiences):
        size = len(experience.index)
        experience.info["verifier/undecided"] = torch.full((size,), float(row < undecided * len(experiences)))
        experience.info["verifier/timeout"] = torch.zeros(size)
    subject = maker(DipoConfig())
    if stops:
        with pytest.raises(UserError, match=r"could not decide 40\.0%.*run\.max_undecided_rate"):
            subject.compute_advantages_and_returns(experiences)
        return
    subject.compute_advantages_and_returns(experiences)
    assert subject.metrics["verifier/undecided_rate"] == pytest.approx(undecided)
    assert subject.metrics["verifier/timeout_rate"] == 0


def test_reward_max_comes_from_the_reward_function():
    scores, log_ppl = separated()
    experiences = batch(scores * 4.0, log_ppl)
    for experience in experiences:
        experience.info["reward_max"] = torch.full((len(experience.index),), 4.0)
    subject = maker(DipoConfig(correct_from="reward_max"))
    subject.compute_advantages_and_returns(experiences)
    assert subject.metrics["rollout/accuracy"] == pytest.approx(scores.mean().item())


def test_to_groups_undoes_balancing():
    order = torch.tensor([3, 1, 0, 2])
    rows = [torch.tensor([30.0, 10.0]), torch.tensor([0.0, 20.0])]
    assert to_groups(rows, order, 2).tolist() == [[0.0, 10.0], [20.0, 30.0]]
