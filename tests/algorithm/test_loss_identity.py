"""One clipped loss on A + alpha * A_r equals the sum of both losses, on OpenRLHF's own PolicyLoss."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from dipo_openrlhf.algorithm import (
    DipoConfig,
    PerplexityQueue,
    check_disjoint,
    reallocation_advantages,
    sequence_log_ppl,
)

P, G, A, ALPHA = 6, 4, 9, 0.1


@pytest.fixture(scope="module")
def policy_loss() -> Any:
    """openrlhf/models/loss.py imported by its path and not through openrlhf.models, which needs flash_attn.

    Its `.utils` is the real one; deepspeed, which that imports and the losses never use, costs 15 seconds to
    import and is left out while it loads.
    """
    spec = importlib.util.find_spec("openrlhf")
    if spec is None or spec.origin is None:
        pytest.skip("OpenRLHF is not installed")
    package = types.ModuleType("openrlhf_models_by_place")
    package.__path__ = [str(Path(spec.origin).parent / "models")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, package.__name__, package)
        if "deepspeed" not in sys.modules:
            patch.setitem(sys.modules, "deepspeed", types.ModuleType("deepspeed"))
        module = importlib.import_module(f"{package.__name__}.loss")
        for name in [name for name in sys.modules if name.startswith(f"{package.__name__}.")]:
            patch.delitem(sys.modules, name)
    return module.PolicyLoss


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "response mean": {"token_level_loss": False},
    "dual clip": {"dual_clip": 3.0},
    "token correction, mask": {"is_correction_level": "token", "is_correction_threshold": [0.8, 1.3]},
    "token correction, clip": {
        "is_correction_level": "token",
        "is_correction_mode": "clip",
        "is_correction_threshold": [0.8, 1.3],
    },
    "sequence correction": {"is_correction_level": "seq", "is_correction_threshold": [0.95, 1.05]},
    "sequence correction, divergence": {
        "is_correction_level": "seq",
        "is_correction_gating": "binary_kl",
        "is_correction_threshold": [0.0, 0.03],
    },
    "gspo": {"policy_loss_type": "gspo"},
}


class Case:
    """Random log-probabilities far enough apart that clips, dual clips and corrections all bite."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        shape = (P * G, A)
        self.old = -torch.rand(shape, generator=generator) * 2 - 0.05
        self.new = (self.old + torch.randn(shape, generator=generator) * 0.6).requires_grad_()
        self.rollout = self.old + torch.randn(shape, generator=generator) * 0.2
        self.mask = (torch.rand(shape, generator=generator) < 0.8).float()
        self.mask[:, 0] = 1
        correct = torch.rand(P, G, generator=generator) < torch.tensor([0, 1, 0.5, 0, 1, 0.5])[:, None]
        log_ppl = sequence_log_ppl(self.old, self.mask).reshape(P, G)
        config = DipoConfig(psd=False, alpha=ALPHA)
        result = reallocation_advantages(correct * 0.7, correct, log_ppl, config, PerplexityQueue())
        assert int(result.fired_P.sum()) >= 4
        self.base = self.spread(result.base_PG)
        self.scaled = self.spread(result.advantages_r_PG)
        self.unscaled = self.scaled / ALPHA

    def spread(self, advantages: torch.Tensor) -> torch.Tensor:
        return advantages.reshape(-1, 1).expand(-1, A) * self.mask

    def value_and_gradient(self, loss: Any, advantages: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value = loss(self.new, self.old, advantages, self.mask, self.rollout)[0]
        return value.detach(), torch.autograd.grad(value, self.new)[0]


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("seed", range(8))
def test_folding_is_exact(policy_loss: Any, name: str, seed: int) -> None:
    loss = policy_loss(clip_eps_low=0.2, clip_eps_high=0.28, **VARIANTS[name])
    case = Case(seed)
    folded, folded_gradient = case.value_and_gradient(loss, case.base + case.scaled)
    first, first_gradient = case.value_and_gradient(loss, case.base)
    second, second_gradient = case.value_and_gradient(loss, case.unscaled)
    torch.testing.assert_close(folded, first + ALPHA * second, rtol=1e-5, atol=1e-6)
    expected = first_gradient + ALPHA * second_gradient
    torch.testing.assert_close(folded_gradient, expected, rtol=1e-4, atol=1e-7)
    assert first_gradient.abs().sum() > 0
    assert second_gradient.abs().sum() > 0


@pytest.mark.parametrize("name", ["plain", "dual clip", "token correction, mask"])
def test_overlapping_streams_break_it(policy_loss: Any, name: str) -> None:
    loss = policy_loss(clip_eps_low=0.2, clip_eps_high=0.28, **VARIANTS[name])
    case = Case(0)
    overlapping = -0.5 * case.base  # of the other sign on the same tokens
    folded, _ = case.value_and_gradient(loss, case.base + ALPHA * overlapping)
    first, _ = case.value_and_gradient(loss, case.base)
    second, _ = case.value_and_gradient(loss, overlapping)
    assert abs(float(folded - (first + ALPHA * second))) > 1e-3
    with pytest.raises(RuntimeError, match="both streams"):
        check_disjoint(case.base, ALPHA * overlapping)


def test_per_stream_normalizer_is_the_mean_over_the_groups_acted_on(policy_loss: Any) -> None:
    loss = policy_loss(clip_eps_low=0.2, clip_eps_high=0.28)
    case = Case(1)
    tokens = case.mask.sum(1).reshape(P, G)
    correct = torch.tensor([[0] * G, [1] * G] + [[0, 1] * (G // 2)] * (P - 2))
    log_ppl = sequence_log_ppl(case.old, case.mask).reshape(P, G)
    config = DipoConfig(psd=False, alpha=ALPHA, normalizer="per_stream")
    result = reallocation_advantages(
        correct.float(), correct, log_ppl, config, PerplexityQueue(), num_tokens=tokens
    )
    shared, _ = case.value_and_gradient(loss, case.spread(result.advantages_r_PG))
    unscaled = reallocation_advantages(
        correct.float(), correct, log_ppl, DipoConfig(psd=False, alpha=ALPHA), PerplexityQueue()
    )
    rows = result.fired_P.repeat_interleave(G)
    own = loss(
        case.new[rows], case.old[rows], case.spread(unscaled.advantages_r_PG)[rows], case.mask[rows], None
    )[0]
    torch.testing.assert_close(shared, own.detach(), rtol=1e-5, atol=1e-6)
