"""An engine core on CPU sends a request's tokens once, when the last is there, if nobody reads them before.

vLLM sends those of every iteration, each with three arrays of log-probabilities, also where the caller asked for the
whole response alone (RequestOutputKind.FINAL_ONLY): the engine's process packs them, and the process that waits for
responses unpacks them on a core that the engine would use.

What vLLM counts as tokens arrive (preemptions, the time to the first token) it counts at the end of a request here; and a
request that is aborted ends without its tokens, which OpenRLHF never reads.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from vllm.sampling_params import RequestOutputKind
from vllm.v1.outputs import LogprobsLists


def whole_outputs(step: Callable[..., Any]) -> Callable[..., Any]:
    """In place of `step`, vllm/v1/engine/core.py, EngineCore.step."""

    @functools.wraps(step)
    def step_and_hold(core: Any) -> Any:
        outputs, executed = step(core)
        held: dict[str, list[Any]] = vars(core).setdefault("dipo_held_outputs", {})
        for of_client in outputs.values():
            of_client.outputs = [*_released(held, of_client.outputs, core.scheduler.requests)]
        for aborted in held.keys() - core.scheduler.requests.keys():
            del held[aborted]
        return outputs, executed

    return step_and_hold


def _released(held: dict[str, list[Any]], outputs: list[Any], requests: dict[str, Any]) -> Any:
    """The outputs that are to be sent now; the others are added to `held`, by request."""
    for output in outputs:
        if output.finished:
            yield joined([*held.pop(output.request_id, ()), output])
        elif _is_read_at_the_end(requests.get(output.request_id), output):
            held.setdefault(output.request_id, []).append(output)
        else:
            yield output


def _is_read_at_the_end(request: Any, output: Any) -> bool:
    """A stop string is found by the process that detokenizes, as the tokens arrive."""
    params = getattr(request, "sampling_params", None)
    return (
        params is not None
        and params.output_kind == RequestOutputKind.FINAL_ONLY
        and not params.stop
        and not request.resumable
        and output.new_prompt_logprobs_tensors is None
        and output.new_sampling_mask is None
        and output.routed_experts is None
    )


def joined(parts: list[Any]) -> Any:
    """One output with the tokens, log-probabilities and events of all `parts`; changes the last."""
    *earlier, last = parts
    if not earlier:
        return last
    last.new_token_ids = [token for part in parts for token in part.new_token_ids]
    last.events = [event for part in parts for event in part.events or ()] or None
    last.prefill_stats = next((part.prefill_stats for part in parts if part.prefill_stats), None)
    last.num_nans_in_logits = max(part.num_nans_in_logits for part in parts)
    found = [part.new_logprobs for part in parts if part.new_logprobs is not None]
    if found:
        last.new_logprobs = _joined_log_probs(found)
    return last


def _joined_log_probs(found: list[LogprobsLists]) -> LogprobsLists:
    """An iteration has as many columns as the request of its batch that wants most, the sampled token first."""
    width = min(each.logprobs.shape[1] for each in found)
    return LogprobsLists(
        np.concatenate([each.logprob_token_ids[:, :width] for each in found]),
        np.concatenate([each.logprobs[:, :width] for each in found]),
        np.concatenate([each.sampled_token_ranks for each in found]),
    )
