"""Perplexities of the policy that sampled, and missing log-probabilities."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from openrlhf.trainer.ppo_utils.experience import Experience
from vllm import SamplingParams

sys.path.insert(0, str(Path(__file__).parent))

from test_experience_maker import GROUP, batch, by_row, maker, separated
from test_maker_windows import rollout, subject_of

from dipo_openrlhf.algorithm import DipoConfig
from dipo_openrlhf.openrlhf_patch.engine import CheckedEngine, check_log_probs
from dipo_openrlhf.openrlhf_patch.experiences import doubtful_share, rollout_log_probs, vllm_kl


def moved(experiences: list[Experience]) -> list[Experience]:
    """The actor has been updated: its log-probabilities are not those of the rollout."""
    for experience in experiences:
        experience.rollout_log_probs = experience.action_log_probs
        experience.action_log_probs = torch.full_like(experience.action_log_probs, -3.0)
    return experiences


def test_off_policy_perplexities_are_the_rollout_s():
    scores, log_ppl = separated()
    synchronous = maker(DipoConfig())
    expected = by_row(synchronous.compute_advantages_and_returns(batch(scores, log_ppl)), "advantages")
    subject = maker(DipoConfig())
    subject.off_policy = True
    found = by_row(subject.compute_advantages_and_returns(moved(batch(scores, log_ppl))), "advantages")
    assert torch.equal(found, expected)
    assert expected[:GROUP].abs().sum() > 0  # it acted
    assert subject.metrics["async/doubtful_log_probs"] == 0
    assert subject.metrics["dipo/threshold_ppl"] == synchronous.metrics["dipo/threshold_ppl"]
    assert torch.equal(subject.queue.tensors()[0], synchronous.queue.tensors()[0])


def sample(rollout: list[float] | None, actor: list[float], mask: list[int]) -> Experience:
    return Experience(
        action_mask=torch.tensor([mask]),
        action_log_probs=torch.tensor([actor]),
        rollout_log_probs=None if rollout is None else torch.tensor([rollout]),
    )


@pytest.mark.parametrize(
    ("rollout", "actor", "words"),
    [
        (None, [-1.0, -2.0, 0.0], "without rollout log-probabilities"),
        ([-1.0, -2.0], [-1.0, -2.0, 0.0], "not one a token"),
        ([0.0, 0.0, 0.0], [-1.0, -2.0, 0.0], "exactly 0"),
    ],
)
def test_log_probabilities_that_were_not_recorded_end_the_run(rollout, actor, words):
    good = sample([-1.0, -1.0, 0.0], [-1.0, -1.0, 0.0], [1, 1, 0])
    with pytest.raises(RuntimeError, match=words):
        rollout_log_probs([good, sample(rollout, actor, [1, 1, 0])])


def test_a_certain_token_is_not_missing():
    certain = sample([0.0, 0.0, 0.0], [-1e-4, -1e-3, -9.0], [1, 1, 0])
    one = sample([0.0, -2.0, 0.0], [-4.0, -2.0, 0.0], [1, 1, 0])
    assert len(rollout_log_probs([certain, one])) == 2
    assert doubtful_share([certain, one]) == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("log_probs", "words"),
    [
        (None, "returned 0 log-probabilities for 2 tokens"),
        ([{5: 1.0}], "returned 1 log-probabilities for 2 tokens"),
        ([{5: 1.0}, {7: 1.0}], "no log-probability for token 6, number 1"),
    ],
)
def test_an_engine_that_omits_one_ends_the_run(log_probs, words):
    check_log_probs([5, 6], [{5: 1.0}, {6: 1.0, 7: 1.0}])
    check_log_probs([], [])
    with pytest.raises(RuntimeError, match=words):
        check_log_probs([5, 6], log_probs)


@pytest.mark.parametrize("requested", [None, 1])
def test_the_engine_checks_what_was_requested(requested):
    output = SimpleNamespace(outputs=[SimpleNamespace(token_ids=[5], logprobs=None)])

    async def generate(*args: Any, **options: Any) -> Any:
        yield output

    engine = object.__new__(CheckedEngine)
    engine.llm = SimpleNamespace(generate=generate)
    call = engine.generate([1], SamplingParams(logprobs=requested))
    if requested is None:
        assert asyncio.run(call) is output
    else:
        with pytest.raises(RuntimeError, match="0 log-probabilities for 1 tokens"):
            asyncio.run(call)


def test_the_divergence_is_a_mean_over_tokens():
    """Masked tokens do not count, nor does a token of a short response more than another."""
    first = sample([-1.0, -2.0, 5.0], [-1.5, -2.0, 0.0], [1, 1, 0])
    second = sample([-1.0, 9.0, 9.0], [-0.9, 0.0, 0.0], [1, 0, 0])
    assert vllm_kl([first, second]) == pytest.approx((0.5 + 0.0 - 0.1) / 3)
    assert vllm_kl([first, sample(None, [-1.0], [1])]) is None
    assert vllm_kl([first, sample([-1.0, -2.0], [-1.0, -2.0, 0.0], [1, 1, 0])]) is None


@pytest.mark.parametrize(("level", "kept"), [("off", False), ("token", True)])
def test_the_update_sees_them_with_a_correction_alone(level, kept):
    subject = subject_of(DipoConfig())
    subject.args.algo.advantage.is_correction_level = level
    samples = rollout()
    for experience in samples:
        experience.rollout_log_probs = experience.action_log_probs + 0.25
    windows = subject.make_experience_batch(samples)
    assert subject.metrics["vllm_kl"] == pytest.approx(0.25)
    assert {window.rollout_log_probs is not None for window in windows} == {kept}
