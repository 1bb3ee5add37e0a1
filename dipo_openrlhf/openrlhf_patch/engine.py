"""OpenRLHF's rollout engine, which fails where a token's log-probability is missing, and takes a seed for every sample.

For a missing one openrlhf/utils/agent.py, SingleTurnAgentExecutor.execute records 0.0, probability one, and a list that
is too short is padded with zeros: importance weights and, in asynchronous mode, perplexities would be incorrect.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
from typing import Any

import numpy as np
import psutil
from openrlhf.trainer.ray.vllm_engine import RolloutRayActor
from openrlhf.utils.agent import SingleTurnAgentExecutor
from vllm.envs import enable_envs_cache
from vllm.inputs.engine import tokens_input
from vllm.sampling_params import RequestOutputKind
from vllm.utils import random_uuid

from dipo_eval.engines.prompts import turn_end
from dipo_openrlhf.openrlhf_patch.child_guard import ChildGuard
from dipo_openrlhf.openrlhf_patch.cpu.changes import ENABLED
from dipo_openrlhf.openrlhf_patch.observe.engine_meter import EngineMeter, EngineReport
from dipo_openrlhf.openrlhf_patch.prompt_tokenizer import PromptTokenizer
from dipo_openrlhf.openrlhf_patch.reward_results import CheckedReward

Base: Any = RolloutRayActor.__ray_actor_class__


class CheckedEngine(Base):
    """The engine of every run.

    A response also ends where the chat template ends a turn: base models with a template name another end token alone,
    and what follows the turn would be graded and trained on.
    """

    tokenizer: Any = None  # known before the first prompt
    turn_ends: tuple[int, ...] = ()  # of the tokenizer
    reward: CheckedReward | None = None

    async def __init__(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[misc]  # as Ray allows
        """OpenRLHF's; vLLM's processes end with this one, also where it is killed."""
        self._guard = ChildGuard()
        with self._guard.of_new_processes():
            await super().__init__(*args, **kwargs)
        # vllm/envs.py computes a setting anew from the environment at every use, until this is called. vLLM calls it in
        # its engine core (vllm/v1/engine/core.py, EngineCore.__init__), not in the process that reads the core's outputs.
        enable_envs_cache()
        self.check_rewards()
        self._guard.add(child.pid for child in psutil.Process().children(recursive=True))

    @property
    def single_turn(self) -> bool:
        """Whether OpenRLHF's own executor asks, for one response a sample: an agent may read the engine's text, and other
        prompts.
        """
        return type(getattr(self, "executor", None)) is SingleTurnAgentExecutor

    def check_rewards(self) -> None:
        """Put a check around the reward function of a file, or the servers that are asked; an agent has none."""
        reward_func = getattr(self.executor, "reward_func", None)
        named: list[str] = getattr(self.executor, "reward_endpoints", None) or []
        if reward_func is not None:
            self.executor.reward_func = self.reward = CheckedReward(reward_func, named[0])
        elif named:
            self.reward = CheckedReward(self.executor._fetch_rewards_via_http, ",".join(named))
            self.executor._fetch_rewards_via_http = self.reward.over_http

    def scored(self, responses: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The responses as they are sent. Raises UserError where the user's reward function has failed."""
        if self.reward is not None:
            self.reward.raise_problem()
        return as_arrays(responses)

    async def take_tokenizer(self, tokenizer: Any) -> None:
        """The tokenizer of every prompt to come."""
        end = turn_end(tokenizer)
        if self.single_turn:
            tokenizer = PromptTokenizer(tokenizer)
        self.tokenizer, self.turn_ends = tokenizer, () if end is None else (end,)

    async def generate(
        self, prompt_token_ids: Any, sampling_params: Any, multi_modal_data: Any = None
    ) -> Any:
        """OpenRLHF's. Raises RuntimeError where log-probabilities were requested and one is missing.

        A prompt of text is given to vLLM as an input that needs no rendering, which would go to another thread and back.
        """
        sampling_params = self.prepared(sampling_params.clone(), len(prompt_token_ids))
        sampling_params.skip_clone = True  # vLLM would copy their lists again
        # OpenRLHF reads only the last output, so vLLM is not asked to build one per token.
        sampling_params.output_kind = RequestOutputKind.FINAL_ONLY
        if self.single_turn:
            # That executor reads no text, and of the log-probabilities those of the sampled tokens alone.
            sampling_params.detokenize = bool(sampling_params.stop)
            if sampling_params.logprobs == 1:
                sampling_params.logprobs = 0  # without those of the likeliest tokens
        if self.turn_ends:
            sampling_params.update_from_generation_config({"eos_token_id": [*self.turn_ends]})
        with self.meter.requests:
            if multi_modal_data:
                output = await super().generate(prompt_token_ids, sampling_params, multi_modal_data)
            else:
                output = await self.complete(tokens_input(prompt_token_ids), sampling_params)
        if output is not None:
            self.meter.tokens += len(output.outputs[0].token_ids)
        if sampling_params.logprobs is not None and output is not None:
            check_log_probs(output.outputs[0].token_ids, output.outputs[0].logprobs)
        return output

    async def complete(self, prompt: Any, sampling_params: Any) -> Any:
        """The last output for a prompt: RolloutRayActor.generate without its copies."""
        last = None
        async for output in self.llm.generate(prompt, sampling_params, request_id=random_uuid()):
            last = output
        return last

    def prepared(self, sampling_params: Any, prompt_tokens: int) -> Any:
        """What a turn is sampled with; changes its argument."""
        return sampling_params

    async def generate_responses(self, *args: Any, hf_tokenizer: Any, **kwargs: Any) -> list[dict[str, Any]]:
        """OpenRLHF's responses to one prompt, with their rewards, as arrays. `hf_tokenizer`: None (take_tokenizer)."""
        with self.meter.groups:
            return self.scored(await super().generate_responses(*args, hf_tokenizer=self.tokenizer, **kwargs))

    async def receive_bucket(self, *bucket: Any) -> None:
        """Load a bucket of weights in each of the engine's processes (weight_sync/worker.py)."""
        with self.meter.phase("receive"):
            await self.llm.collective_rpc("receive_bucket", args=bucket)

    async def sleep(self, level: int = 1) -> None:
        """OpenRLHF's, timed."""
        with self.meter.phase("sleep"):
            await super().sleep(level)

    async def wake_up(self, tags: Any = None) -> None:
        """OpenRLHF's, timed; before a weight sync it wakes the weights alone."""
        with self.meter.phase("wake_weights" if tags == ["weights"] else "wake_cache"):
            await super().wake_up(tags)

    async def take_report(self) -> EngineReport:
        """What the engine has done since the last call."""
        return self.meter.take()

    @functools.cached_property
    def meter(self) -> EngineMeter:
        return EngineMeter(getattr(self, "llm", None))


class SeededEngine(CheckedEngine):
    """An engine that gives every sample, and every turn of it, a seed made from that of its prompt.

    OpenRLHF's engines draw all samples from one generator, so that a response depends on the order in which requests
    arrive, and no resumed run can equal an uninterrupted one. On GPUs `run.seeded_rollouts` is off by default: the engine
    adds a request's numbers in an order that depends on what else is in the batch, so that no seed could repeat a sample,
    and vLLM's first model runner draws the noise of seeded requests one by one.
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

    async def generate_responses(  # type: ignore[override]  # OpenRLHF passes all by name
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
                    hf_tokenizer=self.tokenizer,
                    llm_engine=self,
                    images=images,
                )
            )
        with self.meter.groups:
            return self.scored(await asyncio.gather(*tasks))

    def prepared(self, sampling_params: Any, prompt_tokens: int) -> Any:
        """A further turn, whose prompt is longer, has noise of its own."""
        if sampling_params.seed is not None:
            sampling_params.seed = seed_of(sampling_params.seed, prompt_tokens)
        return sampling_params


def as_arrays(responses: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Responses of the agent's executor with their lists of numbers as arrays, of the types that training uses.

    A list of 4,096 numbers takes a process of the trainer 0.3 ms to unpickle and convert, an array none; and 8,192
    responses of a step arrive in one process.
    """
    kinds = {"observation_tokens": np.int64, "rollout_log_probs": np.float32}
    for response in responses:
        for name, kind in kinds.items():
            if isinstance(response.get(name), list):
                response[name] = np.asarray(response[name], dtype=kind)
    return responses


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
