"""The experience maker's windows: their order follows from seed and step, their loss from the method's reduction."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from openrlhf.models.loss import PolicyLoss
from openrlhf.trainer.ppo_utils.experience import Experience
from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker

from dipo_openrlhf.algorithm import DipoConfig, methods
from dipo_openrlhf.openrlhf_patch.engine import as_arrays
from dipo_openrlhf.openrlhf_patch.experiences import cumulative_returns
from dipo_openrlhf.openrlhf_patch.windows import Window

sys.path.insert(0, str(Path(__file__).parent))

from test_experience_maker import GROUP, maker
from window_batches import samples

GROUPS, RANKS, LIMIT = 12, 2, 16


def subject_of(
    config: DipoConfig, *, seed: int = 42, step: int = 1, window: int = 4 * GROUP, dynamic: bool = True
):
    """A maker whose actor is replaced by log-probabilities that are there already."""
    subject = maker(config)
    args = subject.args
    args.train = SimpleNamespace(
        batch_size=window,
        seed=seed,
        dynamic_batch_enable=dynamic,
        max_tokens_per_gpu=30,
        agent_func_path=None,
    )
    args.algo.advantage.is_correction_level = "off"
    args.ds = SimpleNamespace(ring_attn_size=1, tensor_parallel_size=1)
    args.actor = SimpleNamespace(
        num_nodes=1, num_gpus_per_node=RANKS, loss_agg_mode="token-mean", policy_loss_type="ppo"
    )
    args.rollout.max_tokens_per_gpu, args.rollout.micro_batch_size = 40, 4
    args.rollout.batch_size = GROUPS
    subject.tokenizer = SimpleNamespace(pad_token_id=0)
    subject.step = step

    def make_experience(parts: list[Experience]) -> list[Experience]:
        for part in parts:
            part.kl = torch.zeros_like(part.action_log_probs)
        return parts

    subject.make_experience = make_experience
    return subject


def rollout(groups: int = GROUPS) -> list[Experience]:
    made = samples([1 + (7 * row) % 15 for row in range(groups * GROUP)], seed=3)
    for row, sample in enumerate(made):
        right = float((row * 5) % 3 == 0 and row // GROUP > 1)  # the first two groups are all incorrect
        sample.rewards, sample.scores = torch.tensor([right]), torch.tensor([right])
        sample.info["reward"] = torch.tensor([right])
        sample.prompts = [f"prompt {row // GROUP}"]
    return made


MORE_THAN_THE_POLICY_LOSS = {
    "actor.entropy_coef": 0.0,
    "actor.aux_loss_coef": 0.01,
    "algo.kl.use_loss": True,
    "algo.kl.target": 6.0,
    "train.enable_ema": True,
}


def skipping(more: str | None = None, **options):
    """A subject that leaves idle samples out, with one of MORE_THAN_THE_POLICY_LOSS."""
    subject = subject_of(DipoConfig(method="grpo"), **options)
    args = subject.args
    args.actor.entropy_coef, args.actor.aux_loss_coef, args.train.enable_ema = None, 0.0, False
    args.algo.kl.use_loss, args.algo.kl.target = False, None
    if more is not None:
        section, _, name = more.rpartition(".")
        for part in section.split("."):
            args = getattr(args, part)
        setattr(args, name, MORE_THAN_THE_POLICY_LOSS[more])
    subject.skip_idle = True
    return subject


@pytest.mark.parametrize("dynamic", [True, False])
def test_samples_without_an_advantage_are_left_out_and_the_log_describes_all(dynamic):
    subject = skipping(dynamic=dynamic)
    windows = subject.make_experience_batch(rollout())
    rows = [row for share in trained_order(windows) for row in share]
    assert min(rows) >= 2 * GROUP, "the first two groups are all incorrect"
    assert sorted(rows) == sorted(set(rows))
    assert subject.metrics["dipo/skipped_samples"] == GROUPS * GROUP - len(rows) >= 2 * GROUP
    whole = rollout()
    assert subject.metrics["reward"] == pytest.approx(np.mean([float(one.rewards) for one in whole]))
    assert subject.metrics["rollout/num_samples"] == GROUPS * GROUP
    assert "dipo/padding_samples" not in subject.metrics


@pytest.mark.parametrize("more", MORE_THAN_THE_POLICY_LOSS)
def test_all_samples_are_trained_where_more_than_the_policy_loss_is(more):
    subject = skipping(more)
    windows = subject.make_experience_batch(rollout())
    assert sorted(row for share in trained_order(windows) for row in share) == list(range(GROUPS * GROUP))
    assert "dipo/skipped_samples" not in subject.metrics


def trained_order(windows: list[Window]) -> list[list[int]]:
    return [window.info["row"].int().tolist() for window in windows]


def test_the_order_follows_from_seed_and_step_alone():
    first = trained_order(subject_of(DipoConfig()).make_experience_batch(rollout()))
    assert first == trained_order(subject_of(DipoConfig()).make_experience_batch(rollout()))
    for other in ({"step": 2}, {"seed": 43}):
        assert first != trained_order(subject_of(DipoConfig(), **other).make_experience_batch(rollout()))
    assert sorted(row for share in first for row in share) == list(range(GROUPS * GROUP))
    for number in range(3):
        groups = {row // GROUP for share in first[number::3] for row in share}
        assert len(groups) == 4


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("keep_and_refill", [False, True])
def test_a_constant_reduction_of_any_method_divides_by_rows_times_the_limit(dynamic, keep_and_refill):
    """By the method's property, not its name; with groups dropped and padding rows as well."""
    config = DipoConfig(keep_and_refill=keep_and_refill)
    plain = subject_of(config, window=14 * GROUP, dynamic=dynamic)
    plain.args.rollout.batch_size = 11
    subject = subject_of(config, window=14 * GROUP, dynamic=dynamic)
    subject.args.rollout.batch_size = 11
    subject.method = replace(methods.get("dipo"), name="other", reduction="constant")
    whole, scaled = plain.make_experience_batch(rollout()), subject.make_experience_batch(rollout())
    # 12 groups of 14: two are padding; with keep_and_refill the two incorrect groups are dropped too.
    kept = int(subject.metrics["dipo/trained_samples"])
    assert kept < GROUPS * GROUP if keep_and_refill else kept == GROUPS * GROUP
    tokens = whole[0].action_tokens - (14 * GROUP - kept)
    for one, other in zip(whole, scaled, strict=True):
        unpadded = one.advantages * tokens / one.action_tokens
        torch.testing.assert_close(other.advantages, unpadded * one.action_tokens / (kept * LIMIT))
    assert sum(len(w.sequences) for w in scaled) == 14 * GROUP
    loss = sum(
        PolicyLoss()(
            w.action_log_probs,
            w.action_log_probs,
            w.advantages,
            w.action_mask,
            batch_num_tokens=w.action_tokens,
        )[0]
        for w in scaled
    )
    expected = (
        -sum(float((w.advantages * w.action_mask).sum()) for w in whole) * tokens / whole[0].action_tokens
    )
    assert float(loss) == pytest.approx(expected / (kept * LIMIT), rel=1e-4, abs=1e-7)


def test_with_an_agent_the_constant_is_the_length_of_an_episode_and_not_of_a_message():
    scaled = []
    for agent in (None, "agent.py"):
        subject = subject_of(DipoConfig(), window=GROUPS * GROUP)
        subject.args.train.agent_func_path = agent
        subject.method = replace(methods.get("dipo"), name="other", reduction="constant")
        scaled.append(subject.make_experience_batch(rollout()))
    assert subject.args.data.max_len == 4 * LIMIT
    for message, episode in zip(*scaled, strict=True):
        torch.testing.assert_close(message.advantages, 4 * episode.advantages)


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("method", ["dipo", "entropy_advantage"])
def test_a_batch_of_fewer_samples_than_ranks_is_trained_as_on_one_rank(dynamic, method):
    """The last of an episode, or one that dynamic sampling could not fill: every rank scores, and nothing is lost."""
    ranks, found = 24, {}
    for count in (1, ranks):
        subject = subject_of(DipoConfig(method=method), window=ranks, dynamic=dynamic)
        subject.args.actor.num_gpus_per_node = count
        made = subject.make_experience

        def scored(parts, made=made, subject=subject, count=count):
            assert len(parts) % count == 0, "every rank has as many"
            subject.entropies = [part.action_mask * 0.5 for part in parts]
            return made(parts)

        subject.make_experience = scored
        windows = subject.make_experience_batch(rollout(groups=2))
        assert len(windows) == count
        rows = {}
        for window in windows:
            for row, advantages in zip(window.info["row"].int().tolist(), window.advantages, strict=True):
                rows.setdefault(row, []).append(float(advantages.abs().sum()))
        found[count] = {row: max(values) for row, values in rows.items()}, subject.metrics["rollout/accuracy"]
        assert subject.rollouts.correct.shape == (2, GROUP)
    assert found[1][1] == found[ranks][1]
    assert found[1][0] == pytest.approx(found[ranks][0])
    assert sorted(found[1][0]) == list(range(2 * GROUP))


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("method", ["dipo", "grpo", "dapo", "dr_grpo", "cde"])
def test_a_batch_without_a_single_token_becomes_windows(dynamic, method):
    subject = subject_of(DipoConfig(method=method), dynamic=dynamic)
    made = samples([0] * (3 * GROUP), seed=3)
    for sample in made:
        sample.info["reward"] = sample.rewards = sample.scores = torch.tensor([0.0])
        sample.prompts = ["prompt"]
    windows = subject.make_experience_batch(made)
    assert len(windows) == RANKS
    assert all(bool(torch.isfinite(window.advantages).all()) for window in windows)


@given(
    seed=st.integers(0, 1000),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
    single=st.booleans(),
)
def test_returns_are_openrlhf_s_to_the_bit(seed, dtype, single):
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randn(3, 40, generator=generator).to(dtype)
    if single:  # the reward of a response, at its last token; zeros may be negative
        rewards = torch.where(torch.arange(40) == 17, rewards, torch.tensor(-0.0, dtype=dtype))
    mask = torch.rand(3, 40, generator=generator) < 0.7
    theirs = RemoteExperienceMaker.get_cumulative_returns(None, rewards, mask, 1.0)
    ours = cumulative_returns(rewards, mask)
    assert ours.dtype == theirs.dtype
    assert torch.equal(ours, theirs)
    through_maker = maker(DipoConfig()).get_cumulative_returns(rewards, mask, 0.9)
    assert torch.equal(through_maker, RemoteExperienceMaker.get_cumulative_returns(None, rewards, mask, 0.9))


def test_a_response_arrives_as_arrays_of_the_types_that_training_uses():
    given_ = [{"observation_tokens": [3, 150_000], "rollout_log_probs": [0.0, -0.1], "prompt": "p"}]
    (found,) = as_arrays(given_)
    assert found["observation_tokens"].dtype == np.int64
    assert torch.equal(torch.tensor(found["rollout_log_probs"]), torch.tensor([0.0, -0.1]))
    assert as_arrays([{"observation_tokens": [1], "rollout_log_probs": None}])[0]["rollout_log_probs"] is None
