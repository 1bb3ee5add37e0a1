"""Seeded samples on CPU: the noise of all requests at once, the same numbers in a third of the time.

vLLM draws the noise of a batch from the common generator, and then again, request by request, from those that have a seed
(vllm/v1/sample/ops/topk_topp_sampler.py, TopKTopPSampler.forward_cpu). Here the common generator is left as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

NUMBERS_AT_ONCE = 2**21  # doubles: 16 MiB


def noise_at_once(original: Callable[..., Any]) -> Callable[..., Any]:
    """In place of `original`, TopKTopPSampler.forward_cpu, where every request has a seed."""
    # Its import calls this function (changes.py), which is there by now whichever of the two modules came first.
    from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p, sample_with_exponential_noise

    @functools.wraps(original)
    def forward_cpu(
        self: Any,
        logits_BV: torch.Tensor,
        generators: dict[int, torch.Generator],
        k: torch.Tensor | None,
        p: torch.Tensor | None,
    ) -> Any:
        """(tokens sampled, what logprobs_mode asks for after top-k and top-p, or None); V is the vocabulary."""
        if (
            self.use_fp64_gumbel
            or self.logprobs_mode == "processed_logits"
            or len(generators) < len(logits_BV)
        ):
            return original(self, logits_BV, generators, k, p)
        logits_BV = apply_top_k_top_p(logits_BV, k, p)
        probs_BV = logits_BV.softmax(dim=-1, dtype=torch.float32)
        noise_BV = exponential_noise([generators[row] for row in range(len(probs_BV))], probs_BV.shape[1])
        processed = self.logprobs_mode == "processed_logprobs"
        log_probs_BV = logits_BV.log_softmax(dim=-1, dtype=torch.float32) if processed else None
        return sample_with_exponential_noise(probs_BV, noise_BV), log_probs_BV

    return forward_cpu


def exponential_noise(generators: list[torch.Generator], size: int) -> torch.Tensor:
    """A row of `size` exponential numbers of each generator: those of Tensor.exponential_, which takes the logarithm of
    one number after the other (aten/src/ATen/core/TransformationHelper.h, exponential).
    """
    noise_BV = torch.empty(len(generators), size, dtype=torch.float32)
    rows = max(1, NUMBERS_AT_ONCE // size)
    for start in range(0, len(generators), rows):
        part = generators[start : start + rows]
        uniform_BV = torch.empty(len(part), size, dtype=torch.float64)
        for row_V, generator in zip(uniform_BV.unbind(), part, strict=True):
            row_V.uniform_(generator=generator)
        noise_BV[start : start + rows] = uniform_BV.neg_().log1p_().neg_()
    return noise_BV
