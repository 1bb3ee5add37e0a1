"""Episodes with tools in the engine of every run: turns have seeds of their own, and training gets the sampled tokens."""

from __future__ import annotations

import asyncio
import json
import runpy
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from openrlhf.trainer.ppo_utils.samples_generator import SamplesGenerator
from openrlhf.trainer.ray.vllm_engine import _load_agent_executor
from vllm import SamplingParams

from dipo_openrlhf.openrlhf_patch.engine import SeededEngine
from dipo_openrlhf.recipe.defaults import TOOL_AGENT

T = runpy.run_path(str(Path(__file__).parents[1] / "rewards" / "tool_episodes.py"))
LABEL = json.dumps({"environment": "pantry", "stock": {}, "wanted": {"salt": 1}})
CALL = T["call"]("add", item="salt", jars=1)


class Llm:
    """vLLM's own interface: what it samples depends on how many tokens of results the prompt has."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.asked: list[tuple[list[int], SamplingParams, list[int]]] = []

    async def generate(self, prompt: Any, params: SamplingParams, request_id: str) -> AsyncIterator[Any]:
        tokens = list(prompt["prompt_token_ids"])
        said = "Done." if "1 jars of salt" in self.tokenizer.decode(tokens) else CALL
        sampled = T["spelled"](self.tokenizer, f"{said}<|im_end|>")
        self.asked.append((tokens, params, sampled))
        log_probs = [{token: SimpleNamespace(logprob=-1.0)} for token in sampled]
        output = SimpleNamespace(token_ids=sampled, text=said, finish_reason="stop", logprobs=log_probs)
        yield SimpleNamespace(outputs=[output])


@pytest.fixture
def engine() -> Iterator[Any]:
    made = object.__new__(SeededEngine)
    used = T["tokenizer"]()
    made.llm, made.executor, made._mm_pad_token_ids = Llm(used), _load_agent_executor(str(TOOL_AGENT)), None
    asyncio.run(made.take_tokenizer(used))
    yield made
    made.executor.episodes.close()


def test_the_samples_of_a_prompt_are_episodes_with_seeds_of_their_own(engine: Any) -> None:
    params = SamplingParams(seed=7, logprobs=1, max_tokens=400, skip_special_tokens=False)
    responses = asyncio.run(
        engine.generate_responses(
            prompt="Fill the pantry.", label=LABEL, sampling_params=params, max_length=4096, hf_tokenizer=None,
            num_samples=4,
        )
    )  # fmt: skip
    assert [response["reward"] for response in responses] == [1.0] * 4
    assert len(engine.llm.asked) == 8
    assert len({asked.seed for _, asked, _ in engine.llm.asked}) == 8
    assert params.max_tokens == 400  # of the next prompt
    sampled = sorted(tokens for _, _, tokens in engine.llm.asked)
    found = []
    for response in responses:
        experience = SamplesGenerator._process_response_into_experience(None, response, max_len=4096)
        mask_A = experience.action_mask[0].bool()
        assert experience.rollout_log_probs[0][mask_A].unique().tolist() == [-1.0]
        assert experience.rollout_log_probs[0][~mask_A].unique().tolist() == [0.0]
        assert float(experience.info["episode/turns"]) == 2.0
        first, second = (
            list(response["observation_tokens"][start:end]) for start, end in response["action_ranges"]
        )
        assert experience.sequences[0][1:][mask_A].tolist() == first + second
        found += [first, second]
    assert sorted(found) == sampled
