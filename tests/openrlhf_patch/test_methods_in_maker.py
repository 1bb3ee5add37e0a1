"""Every method of dipo.method inside OpenRLHF's experience maker: its own file's advantages, on the correct tokens."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest
import torch

from dipo_openrlhf.algorithm import DipoConfig, methods
from dipo_openrlhf.algorithm.method import Rollout
from dipo_openrlhf.openrlhf_patch.actor import ScoredActions
from dipo_openrlhf.openrlhf_patch.experiences import to_token_groups

sys.path.insert(0, str(Path(__file__).parent))

from test_experience_maker import GROUP, batch, by_row, maker, separated

OWN = [name for name in methods.names() if not methods.get(name).uses_openrlhf_advantages]
OPENRLHFS = [name for name in methods.names() if methods.get(name).uses_openrlhf_advantages]

# CDE's bonus is at its cap in what `separated` gives, so it differs within no group of equal rewards.
TRAIN_EXTREMES = {"rl_zvp", "dace", "ngrpo", "lens", "w_reinforce"}


def entropies(experiences) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(e.action_mask.shape, generator=generator) for e in experiences]


def test_all_methods_are_there():
    assert set(OWN) >= {"cde", "entropy_advantage", "maxrl", *TRAIN_EXTREMES}
    assert set(OPENRLHFS) >= {"grpo", "dr_grpo", "dapo"}


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("shuffle", [False, True])
def test_advantages_are_those_of_the_method_s_file(name, shuffle):
    scores, log_ppl = separated()
    experiences = batch(scores, log_ppl, shuffle=shuffle)
    given = entropies(experiences)
    subject = maker(DipoConfig(method=name))
    subject.progress = 0.6
    subject.entropies = list(given)
    order = torch.tensor(list(itertools.chain.from_iterable(e.index for e in experiences)))
    method = methods.get(name)
    expected = method.advantages(
        Rollout(
            rewards_PG=scores,
            correct_PG=scores == 1,
            action_mask_PGA=to_token_groups([e.action_mask for e in experiences], order, GROUP),
            log_ppl_PG=log_ppl.float(),
            token_entropy_PGA=to_token_groups(given, order, GROUP) if method.needs_entropy else None,
            progress=0.6,
        )
    )
    found = by_row(subject.compute_advantages_and_returns(experiences), "advantages")
    torch.testing.assert_close(found, expected.reshape(found.shape), rtol=1e-5, atol=1e-6)
    assert found.abs().sum() > 0
    extreme = found.reshape(-1, GROUP, 12)[:4]
    assert bool((extreme != 0).any()) == (name in TRAIN_EXTREMES)


@pytest.mark.parametrize("name", OPENRLHFS)
def test_openrlhf_s_own_methods_are_bit_for_bit_its_own(name):
    scores, log_ppl = separated()
    plain_maker = maker(None)
    plain_maker.args.algo.advantage.estimator = plain_maker.advantage_estimator = methods.get(name).estimator
    plain = by_row(plain_maker.compute_advantages_and_returns(batch(scores, log_ppl)), "advantages")
    subject = maker(DipoConfig(method=name))
    subject.args.algo.advantage.estimator = subject.advantage_estimator = methods.get(name).estimator
    found = by_row(subject.compute_advantages_and_returns(batch(scores, log_ppl)), "advantages")
    zero = (scores == scores[:, :1]).all(1).repeat_interleave(GROUP)
    assert torch.equal(found[~zero], plain[~zero])


def test_missing_entropies_are_an_error():
    with pytest.raises(RuntimeError, match="rl_zvp: the actor returned no token entropies"):
        maker(DipoConfig(method="rl_zvp")).compute_advantages_and_returns(batch(*separated()))


def test_entropies_are_split_from_the_actors_output(monkeypatch):
    subject = maker(DipoConfig(method="rl_zvp"))
    scored = [ScoredActions(torch.full((2, 3), float(i)), torch.full((2, 3), 10.0 + i)) for i in range(2)]
    parent = type(subject).__mro__[1]
    monkeypatch.setattr(parent, "_flatten_results", lambda self, refs, factor: refs)
    assert [float(x[0, 0]) for x in subject._flatten_results(scored, 1)] == [0.0, 1.0]
    assert [float(x[0, 0]) for x in subject.entropies] == [10.0, 11.0]
    plain = [torch.zeros(2, 3)]
    assert subject._flatten_results(plain, 1) is plain


def test_tool_feedback_enters_no_perplexity_and_gets_no_advantage():
    """Two turns of a tool call: tokens 4 to 7 are the tool's answer, whose log-probabilities are absurd."""
    scores, log_ppl = separated()
    experiences = batch(scores, log_ppl, lengths=torch.full((scores.numel(),), 12))
    for experience in experiences:
        experience.action_mask[:, 4:8] = 0
        experience.action_log_probs[:, 4:8] = -50.0
    subject = maker(DipoConfig())
    experiences = subject.compute_advantages_and_returns(experiences)
    assert subject.rollouts is not None
    torch.testing.assert_close(subject.rollouts.log_ppl, log_ppl.float(), rtol=1e-5, atol=1e-6)
    advantages = by_row(experiences, "advantages")
    # DiPO's own groups; elsewhere OpenRLHF leaves its return there, which the loss masks.
    assert torch.equal(advantages[: 2 * GROUP, 4:8], torch.zeros(2 * GROUP, 4))
    assert advantages[: 2 * GROUP, :4].abs().min() > 0
    assert subject.metrics["dipo/fired_hard"] == subject.metrics["dipo/fired_easy"] == 1
