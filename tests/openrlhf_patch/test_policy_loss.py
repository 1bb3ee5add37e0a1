"""CISPO and GSPO on OpenRLHF's own loss: values and gradients by hand, at the clip ranges that recipes set."""

from __future__ import annotations

import math
from typing import Any

import openrlhf.trainer.ray.ppo_actor as ppo_actor
import pytest
import torch
from openrlhf.models.loss import PolicyLoss

from dipo_openrlhf.openrlhf_patch.policy_loss import install, policy_loss
from dipo_openrlhf.recipe.defaults import loss_defaults


def loss_of(kind: str, **options: Any) -> Any:
    defaults = loss_defaults({"actor.policy_loss_type": kind})
    low, high = defaults["actor.eps_clip_low_high"]
    return policy_loss(policy_loss_type=kind, clip_eps_low=low, clip_eps_high=high, **options)


def tokens(*ratios: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(log-probabilities with a gradient, old ones) of one response with these ratios; log pi_old is -1."""
    old = torch.full((1, len(ratios)), -1.0)
    return (old + torch.tensor([ratios]).log()).requires_grad_(), old


def test_cispo_by_hand() -> None:
    new, old = tokens(0.01, 2.0, 8.0, 8.0)
    advantages, mask = torch.tensor([[1.0, -1.0, 1.0, -3.0]]), torch.ones(1, 4)
    loss, bounded, kl, vllm_kl, filtered = loss_of("cispo")(new, old, advantages, mask)
    # weights 0.01, 2, 5, 5: bounded by 5 above and by nothing below; -(0.01 - 2 + 5 - 15) / 4
    assert loss.item() == pytest.approx(11.99 / 4)
    assert float(bounded) == 0.5
    assert float(kl) == pytest.approx(-(math.log(0.01) + math.log(2) + 2 * math.log(8)) / 4)
    assert vllm_kl is None
    assert filtered is None
    # -weight * A / 4, on every token: PPO has none on the third
    (gradient,) = torch.autograd.grad(loss, new)
    assert gradient[0].tolist() == pytest.approx([-0.0025, 0.5, -1.25, 3.75])


@pytest.mark.parametrize("token_level", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_the_gradient_is_that_of_the_published_loss(seed: int, token_level: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    old = -torch.rand(3, 5, generator=generator) - 0.1
    new = (old + 1.5 * torch.randn(3, 5, generator=generator)).requires_grad_()
    advantages = torch.randn(3, 5, generator=generator)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 1, 0], [1, 0, 0, 0, 0]]).float()
    loss = policy_loss(
        policy_loss_type="cispo", clip_eps_low=0.3, clip_eps_high=0.5, token_level_loss=token_level
    )
    (found,) = torch.autograd.grad(loss(new, old, advantages, mask)[0], new)
    each = -(new - old).exp().clamp(0.7, 1.5).detach() * advantages * new * mask
    mean = each.sum() / mask.sum() if token_level else (each.sum(1) / mask.sum(1)).mean()
    (expected,) = torch.autograd.grad(mean, new)
    torch.testing.assert_close(found, expected)


def test_cispo_has_the_correction_of_importance_weights() -> None:
    new, old = tokens(2.0, 8.0)
    rollout = old - torch.tensor([[math.log(1.5), math.log(9.0)]])  # pi_train / pi_rollout: 1.5 and 9
    correction = {"is_correction_level": "token", "is_correction_threshold": [0.5, 5.0]}
    loss, _, _, vllm_kl, filtered = loss_of("cispo", **correction)(
        new, old, torch.ones(1, 2), torch.ones(1, 2), rollout
    )
    assert loss.item() == pytest.approx(-1.5 * 2 / 2)  # the second is dropped
    assert float(filtered) == 0.5
    assert float(vllm_kl) == pytest.approx(-(math.log(1.5) + math.log(9)) / 2)


def test_cispo_is_linear_in_the_advantages() -> None:
    """So DiPO's two streams are one loss on their sum, whether or not they share responses."""
    new, old = tokens(0.1, 1.0, 9.0)
    first, second, mask = torch.tensor([[1.0, -2.0, 3.0]]), torch.tensor([[-0.5, 0.1, 7.0]]), torch.ones(1, 3)
    losses = [loss_of("cispo")(new, old, each, mask)[0] for each in (first, second, first + 0.1 * second)]
    gradients = [torch.autograd.grad(loss, new, retain_graph=True)[0] for loss in losses]
    torch.testing.assert_close(losses[2], losses[0] + 0.1 * losses[1])
    torch.testing.assert_close(gradients[2], gradients[0] + 0.1 * gradients[1])


def test_gspo_acts_at_its_own_clip_range_by_hand() -> None:
    new, old = tokens(1.002, 1 / 1.001)  # its ratio: sqrt(1.002 / 1.001) = 1.0005
    mask, ratio = torch.ones(1, 2), math.sqrt(1.002 / 1.001)
    loss, clipped, *_ = loss_of("gspo")(new, old, torch.ones(1, 2), mask)
    assert loss.item() == pytest.approx(-1.0004, abs=1e-6)
    assert float(clipped) == 1
    assert torch.autograd.grad(loss, new)[0].tolist() == [[0, 0]]
    wide = PolicyLoss(clip_eps_low=0.2, clip_eps_high=0.28, policy_loss_type="gspo")
    loss, clipped, *_ = wide(new, old, torch.ones(1, 2), mask)
    assert (loss.item(), float(clipped)) == (pytest.approx(-ratio, abs=1e-6), 0)


def test_other_losses_are_openrlhf_s_and_a_dual_clip_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ppo_actor, "PolicyLoss", PolicyLoss)
    install()
    built = ppo_actor.PolicyLoss(clip_eps_low=0.1, clip_eps_high=0.3, policy_loss_type="gspo")
    assert type(built) is PolicyLoss
    assert (built.policy_loss_type, built.clip_eps_high) == ("gspo", 0.3)
    with pytest.raises(ValueError, match="no dual_clip"):
        loss_of("cispo", dual_clip=3.0)
