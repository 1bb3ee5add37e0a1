"""Rollouts that depend on the run's seed and the prompt's place in the data, not on what else the engine does.

OpenRLHF's engines draw all samples from one generator, so that every response depends on the order in which requests
happen to arrive, and no resumed run can equal an undisturbed one. Here each sample has a generator of its own
(vLLM: SamplingParams.seed). On GPUs vLLM then draws its noise request by request, which costs time in every decoding
step: `run.seeded_rollouts` is off there unless the recipe asks for it.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import torch

from dipo_openrlhf.openrlhf_patch.engine import CheckedEngine

_SEEDS = 2**63


def seed_of(*parts: int | str) -> int:
    """A seed in [0, 2^63) from what identifies a draw: the same parts give the same, others independent ones."""
    digest = hashlib.blake2b(":".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % _SEEDS


class SeededEngine(CheckedEngine):
    """An engine that gives every sample, and every turn of it, a seed made from that of its prompt."""

    async def __init__(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[misc]  # as Ray allows
        """On CPU without chunked prefill: vLLM takes back the draw of a prompt that is not yet read to its end, by an
        offset that CPU generators lack (vllm/v1/worker/gpu_model_runner.py:3785), and the engine would die.
        """
        if not torch.cuda.is_available():
            kwargs["enable_chunked_prefill"] = False
        await super().__init__(*args, **kwargs)

    async def generate_responses(
        self,
        prompt: str,
        label: str,
        sampling_params: Any,
        max_length: int,
        hf_tokenizer: Any,
        num_samples: int = 1,
        images: Any = None,
    ) -> Any:
        """See openrlhf/trainer/ray/vllm_engine.py:183."""
        tasks = []
        for sample in range(num_samples):
            params = sampling_params.clone()
            if params.seed is not None:
                params.seed = seed_of(params.seed, sample)
            tasks.append(
                self.executor.execute(
                    prompt=prompt,
                    label=label,
                    sampling_params=params,
                    max_length=max_length,
                    hf_tokenizer=hf_tokenizer,
                    llm_engine=self,
                    images=images,
                )
            )
        return await asyncio.gather(*tasks)

    async def generate(self, prompt_token_ids: Any, sampling_params: Any, *args: Any, **kwargs: Any) -> Any:
        """See openrlhf/trainer/ray/vllm_engine.py:154. A further turn, whose prompt is longer, has noise of its own."""
        if sampling_params.seed is not None:
            sampling_params = sampling_params.clone()
            sampling_params.seed = seed_of(sampling_params.seed, len(prompt_token_ids))
        return await super().generate(prompt_token_ids, sampling_params, *args, **kwargs)
