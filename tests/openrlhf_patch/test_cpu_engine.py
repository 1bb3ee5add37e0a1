"""The changes that make vLLM's engine faster on CPU: the same numbers as its own code."""

from __future__ import annotations

import importlib
import inspect
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from vllm import SamplingParams
from vllm.config import VllmConfig, set_current_vllm_config
from vllm.model_executor.layers.layernorm import RMSNorm
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs, FinishReason
from vllm.v1.engine.core import EngineCore
from vllm.v1.outputs import LogprobsLists
from vllm.v1.sample.ops.topk_topp_sampler import TopKTopPSampler

from dipo_openrlhf.openrlhf_patch.cpu import norms, sampling
from dipo_openrlhf.openrlhf_patch.cpu.whole_outputs import joined, whole_outputs


def seeded(rows: int) -> dict[int, torch.Generator]:
    return {row: torch.Generator().manual_seed(row) for row in range(rows)}


@pytest.mark.parametrize("at_once", [1, 1000, sampling.NUMBERS_AT_ONCE])
def test_the_noise_is_what_each_generator_draws(monkeypatch, at_once):
    monkeypatch.setattr(sampling, "NUMBERS_AT_ONCE", at_once)
    for size in (1, 348, 5000):
        generators = [*seeded(7).values()]
        expected = [torch.empty(size).exponential_(generator=each) for each in seeded(7).values()]
        assert torch.equal(sampling.exponential_noise(generators, size), torch.stack(expected))


@pytest.mark.parametrize("mode", ["raw_logprobs", "processed_logprobs", "processed_logits"])
@pytest.mark.parametrize(("k", "p"), [(None, None), (20, None), (None, 0.7)])
def test_samples_and_log_probabilities_are_vllm_s_own(mode, k, p):
    sampler = SimpleNamespace(logprobs_mode=mode, use_fp64_gumbel=False)
    top_k = None if k is None else torch.full((9,), k)
    top_p = None if p is None else torch.full((9,), p)
    ours, theirs = seeded(9), seeded(9)
    for step in range(3):  # the generators are left in the same state
        logits = torch.randn(9, 348, generator=torch.Generator().manual_seed(step)) * 3
        found = TopKTopPSampler.forward_cpu(sampler, logits.clone(), ours, top_k, top_p)
        expected = TopKTopPSampler.forward_cpu.__wrapped__(sampler, logits.clone(), theirs, top_k, top_p)
        assert torch.equal(found[0], expected[0])
        assert (found[1] is None) == (expected[1] is None) == (mode == "raw_logprobs")
        if expected[1] is not None:
            assert torch.equal(found[1], expected[1])


def test_a_batch_in_which_a_request_has_no_seed_is_vllm_s(monkeypatch):
    def refuse(*args: Any) -> None:
        raise AssertionError("vLLM's own noise is wanted")

    monkeypatch.setattr(sampling, "exponential_noise", refuse)
    sampler = SimpleNamespace(logprobs_mode="raw_logprobs", use_fp64_gumbel=False)
    tokens, _ = TopKTopPSampler.forward_cpu(sampler, torch.randn(4, 50), seeded(3), None, None)
    assert tokens.shape == (4,)


@pytest.fixture
def norm():
    with set_current_vllm_config(VllmConfig()):
        made = RMSNorm(32, eps=1e-6)
    made.weight.data = torch.rand(32, generator=torch.Generator().manual_seed(3)) + 0.5
    return made


@pytest.mark.parametrize("shape", [(1, 32), (512, 32), (6, 5, 32)])
def test_a_norm_is_vllm_s_own(norm, shape):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(4)) * 5
    torch.testing.assert_close(norms.forward_cpu(norm, x), norm.forward_native(x), rtol=1e-6, atol=1e-6)
    part = torch.cat([x, x], dim=-1)[..., 32:]  # a view with gaps, as vLLM splits queries, keys and values
    assert not part.is_contiguous() or len(x) == 1
    assert torch.equal(norms.forward_cpu(norm, part), norms.forward_cpu(norm, x))


def test_a_norm_with_a_residual_is_vllm_s_own(norm):
    x, residual = torch.randn(2, 64, 32, generator=torch.Generator().manual_seed(5))
    expected = norm.forward_native(x.clone(), residual.clone())
    for found, wanted in zip(norms.forward_cpu(norm, x.clone(), residual.clone()), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
    gaps = torch.cat([x, x], dim=-1)[:, 32:]
    for found, wanted in zip(norms.forward_cpu(norm, gaps, residual.clone()), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def test_a_norm_of_another_type_than_its_weights_is_left_to_vllm(norm):
    x = torch.randn(3, 32).to(torch.bfloat16)
    assert torch.equal(norms.forward_cpu(norm, x), norm.forward_native(x))


def test_a_width_that_the_kernels_refuse_is_left_to_vllm():
    with set_current_vllm_config(VllmConfig()):
        norm = RMSNorm(20, eps=1e-6)
    x = torch.randn(3, 20, generator=torch.Generator().manual_seed(6))
    assert torch.equal(norms.forward_cpu(norm, x), norm.forward_native(x))


def test_a_residual_of_another_type_is_left_to_vllm(norm):
    x, residual = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(7))
    norm.weight.data = norm.weight.data.to(torch.bfloat16)
    expected = norm.forward_native(x.to(torch.bfloat16), residual)
    for found, wanted in zip(norms.forward_cpu(norm, x.to(torch.bfloat16), residual), expected, strict=True):
        assert torch.equal(found, wanted)


def test_vllm_has_no_norm_for_cpu_of_its_own():
    """Else ours would replace it in silence."""
    source = inspect.getsource(importlib.import_module(RMSNorm.__module__))
    assert "def forward_cpu" not in source


def test_the_engine_has_the_changes():
    assert RMSNorm.forward_cpu is norms.forward_cpu
    assert EngineCore.step.__wrapped__.__qualname__ == "EngineCore.step"


def output(name: str, tokens: list[int], finished: bool = False) -> EngineCoreOutput:
    column = np.asarray(tokens)[:, None]
    return EngineCoreOutput(
        request_id=name,
        new_token_ids=tokens,
        new_logprobs=LogprobsLists(column, -column.astype(np.float32), column[:, 0] + 1),
        finish_reason=FinishReason.STOP if finished else None,
    )


class Core:
    """An engine core that makes one token of each request an iteration."""

    def __init__(self, lengths: dict[str, int], **params: Any) -> None:
        self.left = dict(lengths)
        request = SimpleNamespace(sampling_params=SamplingParams(**params), resumable=False)
        self.scheduler = SimpleNamespace(
            requests=dict.fromkeys(lengths, request), has_requests=lambda: bool(self.left)
        )

    def step(self) -> tuple[dict[int, EngineCoreOutputs], bool]:
        made = []
        for name in list(self.left):
            self.left[name] -= 1
            made.append(output(name, [self.left[name]], finished=not self.left[name]))
            if not self.left[name]:
                del self.left[name], self.scheduler.requests[name]
        return {0: EngineCoreOutputs(outputs=made)}, True


def sent(core: Core) -> list[list[EngineCoreOutput]]:
    step, iterations = whole_outputs(Core.step), []
    while core.left:
        iterations.append(step(core)[0][0].outputs)
    return iterations


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_a_response_is_sent_once_with_all_it_has(lengths):
    named = {str(number): length for number, length in enumerate(lengths)}
    iterations = sent(Core(named, output_kind=RequestOutputKind.FINAL_ONLY))
    assert len(iterations) == max(lengths)
    for number, outputs in enumerate(iterations, start=1):
        assert {each.request_id for each in outputs} == {
            name for name, length in named.items() if length == number
        }
    for each in (one for outputs in iterations for one in outputs):
        tokens = [*range(named[each.request_id])][::-1]
        assert each.finished
        assert each.new_token_ids == tokens
        assert each.new_logprobs.logprobs[:, 0].tolist() == [-token for token in tokens]
        assert each.new_logprobs.logprob_token_ids[:, 0].tolist() == tokens
        assert each.new_logprobs.sampled_token_ranks.tolist() == [token + 1 for token in tokens]


@pytest.mark.parametrize(
    "params",
    [
        {"output_kind": RequestOutputKind.CUMULATIVE},
        {"output_kind": RequestOutputKind.FINAL_ONLY, "stop": "end"},
    ],
)
def test_tokens_that_are_read_before_the_end_are_sent_as_they_come(params):
    assert [len(outputs) for outputs in sent(Core({"one": 3, "two": 2}, **params))] == [2, 2, 1]


def test_a_batch_s_width_may_change_while_a_request_runs():
    """vLLM returns as many log-probabilities of each token as the request beside it wants."""
    wide = output("one", [4])
    ids, log_probs, ranks, _ = wide.new_logprobs
    wide.new_logprobs = LogprobsLists(np.hstack([ids, ids + 1]), np.hstack([log_probs, log_probs - 1]), ranks)
    whole = joined([output("one", [5]), wide, output("one", [3], finished=True)])
    assert whole.new_logprobs.logprob_token_ids.tolist() == [[5], [4], [3]]
    assert whole.new_logprobs.logprobs.tolist() == [[-5], [-4], [-3]]


def test_nothing_is_kept_of_a_request_that_was_aborted():
    core = Core({"one": 3, "two": 1}, output_kind=RequestOutputKind.FINAL_ONLY)
    step = whole_outputs(Core.step)
    step(core)
    assert [*core.dipo_held_outputs] == ["one"]
    core.left = {"three": 2}
    core.scheduler.requests = {"three": core.scheduler.requests["one"]}
    step(core)
    assert [*core.dipo_held_outputs] == ["three"]
