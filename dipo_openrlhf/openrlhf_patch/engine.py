"""OpenRLHF's rollout engine, which fails where a token's log-probability is missing, and takes a seed for every sample.

For a missing one openrlhf/utils/agent.py, SingleTurnAgentExecutor.execute records 0.0, probability one, and a list that
is too short is padded with zeros: importance weights and, in asynchronous mode, perplexities would be incorrect.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from typing import Any

from openrlhf.trainer.ray.vllm_engine import RolloutRayActor

from dipo_openrlhf.openrlhf_patch.cpu.changes import ENABLED

Base: Any = RolloutRayActor.__ray_actor_class__


class CheckedEngine(Base):
    """The engine of every run."""

    async def generate(
        self, prompt_token_ids: Any, sampling_params: Any, multi_modal_data: Any = None
    ) -> Any:
        """OpenRLHF's. Raises RuntimeError where log-probabilities were requested and one is missing."""
        output = await super().generate(prompt_token_ids, sampling_params, multi_modal_data)
        if sampling_params.logprobs is not None and output is not None:
            check_log_probs(output.outputs[0].token_ids, output.outputs[0].logprobs)
        return output


class SeededEngine(CheckedEngine):
    """An engine that gives every sample, and every turn of it, a seed made from that of its prompt.

    OpenRLHF's engines draw all samples from one generator, so that a response depends on the order in which requests
    arrive, and no resumed run can equal an uninterrupted one. On GPUs vLLM draws the noise of seeded requests one by one,
    which costs time in every decoding step: `run.seeded_rollouts` is off there by default.
    """

    async def __init__(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[misc]  # as Ray allows
        """On CPU without chunked prefill: for a prompt that is not prefilled to its end, vLLM rewinds the generator by an
        offset that CPU generators lack (vllm/v1/worker/gpu_model_runner.py, GPUModelRunner._bookkeeping_sync).
        """
        if (
            os.environ.get(ENABLED) == "1"
        ):  # with tensor parallelism an engine's own process sees no GPU, on GPUs either
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
        """OpenRLHF's, with a seed for each of the prompt's samples."""
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
        """A further turn, whose prompt is longer, has noise of its own."""
        if sampling_params.seed is not None:
            sampling_params = sampling_params.clone()
            sampling_params.seed = seed_of(sampling_params.seed, len(prompt_token_ids))
        return await super().generate(prompt_token_ids, sampling_params, *args, **kwargs)


def seed_of(*parts: int | str) -> int:
    """A seed in [0, 2^63) from what identifies a draw: equal for equal parts, independent for different ones."""
    digest = hashlib.blake2b(":".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % 2**63


def check_log_probs(token_ids: Any, log_probs: Any) -> None:
    """`log_probs`: of every token the candidates by id. Raises RuntimeError unless each sampled token is among them."""
    found = 0 if log_probs is None else len(log_probs)
    if log_probs is None or found != len(token_ids):
        raise RuntimeError(f"vLLM returned {found} log-probabilities for {len(token_ids)} tokens")
    for place, (token, candidates) in enumerate(zip(token_ids, log_probs, strict=True)):
        if token not in candidates:
            raise RuntimeError(
                f"vLLM returned no log-probability for token {token}, number {place} of a response"
            )
