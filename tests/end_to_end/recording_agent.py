"""The tool agent, which also writes down what its engine was asked and sampled: `train.agent_func_path` of a test."""

from __future__ import annotations

import json
import os
from typing import Any

from dipo_openrlhf.rewards.tool_agent import AgentExecutor as ToolAgent

EPISODES = "DIPO_TEST_EPISODES"  # names the file, a line an episode


class _Recorded:
    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.turns: list[dict[str, Any]] = []

    async def generate(self, prompt_token_ids: Any, sampling_params: Any) -> Any:
        prompt = list(prompt_token_ids)
        request = await self.engine.generate(prompt_token_ids, sampling_params)
        sampled = request.outputs[0]
        pairs = zip(sampled.token_ids, sampled.logprobs, strict=True)
        self.turns.append(
            {
                "prompt": prompt,
                "sampled": list(sampled.token_ids),
                "log_probs": [found[token].logprob for token, found in pairs],
            }
        )
        return request


class AgentExecutor(ToolAgent):
    async def execute(self, *args: Any, llm_engine: Any, **named: Any) -> dict[str, Any]:
        recorded = _Recorded(llm_engine)
        response = await super().execute(*args, llm_engine=recorded, **named)
        with open(os.environ[EPISODES], "a", encoding="utf-8") as file:
            file.write(json.dumps(recorded.turns) + "\n")
        return response
