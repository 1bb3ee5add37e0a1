"""OpenRLHF's rollout engine, which says so when a token's log-probability is missing.

OpenRLHF puts 0.0 in its place, probability one (utils/agent.py:276), and pads a list that is too short with zeros:
the importance weights and, in asynchronous mode, the perplexities would be wrong and nothing would show it.
"""

from __future__ import annotations

from typing import Any

from openrlhf.trainer.ray.vllm_engine import RolloutRayActor

Base: Any = RolloutRayActor.__ray_actor_class__


class CheckedEngine(Base):
    """See openrlhf/trainer/ray/vllm_engine.py:39."""

    async def generate(
        self, prompt_token_ids: Any, sampling_params: Any, multi_modal_data: Any = None
    ) -> Any:
        """OpenRLHF's. Raises RuntimeError where log-probabilities were asked for and one is missing."""
        output = await super().generate(prompt_token_ids, sampling_params, multi_modal_data)
        if sampling_params.logprobs is not None and output is not None:
            check_log_probs(output.outputs[0].token_ids, output.outputs[0].logprobs)
        return output


def check_log_probs(token_ids: Any, log_probs: Any) -> None:
    """`log_probs`: of every token the candidates by id. Raises RuntimeError unless each sampled token is among them."""
    if log_probs is None or len(log_probs) != len(token_ids):
        found = 0 if log_probs is None else len(log_probs)
        raise RuntimeError(f"vLLM returned {found} log-probabilities for {len(token_ids)} tokens")
    for place, (token, candidates) in enumerate(zip(token_ids, log_probs, strict=True)):
        if token not in candidates:
            raise RuntimeError(
                f"vLLM returned no log-probability for token {token}, number {place} of a response"
            )
