"""vLLM as an evaluation engine, on CPU and GPU.

Each evaluation loads its checkpoint (1.1 to 1.4 s for a tiny Qwen3 on 2 CPU cores, the first time 12 to 24 s). Copying
new weights into a running engine (collective_rpc "reload_weights") is not used: with vLLM's packed oneDNN weights it
reports success while the old model keeps answering.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dipo_eval.engines.base import Generation, OnDone, Request, Sampling, cut_at_stop, longest_first
from dipo_eval.engines.device import has_gpu, inspect_models_here, set_engine_env
from dipo_eval.engines.prompts import end_tokens
from dipo_eval.errors import UserError, one_line
from dipo_eval.workers.garbage import collect_as_usual


class VllmEngine:
    """A model in vLLM; see dipo_eval.engines.base.Engine. Prompts are token ids: vLLM never applies a chat template.

    On CPU every request has its own seed, so that results can be repeated. On a GPU they could not be, since sums depend
    on what else is in a batch, and vLLM draws the noise of each seeded request by itself
    (vllm/v1/sample/ops/topk_topp_sampler.py, random_sample): there `seed` is that of the engine.
    """

    def __init__(self, model: Path, *, max_model_len: int, dtype: str, seed: int = 0) -> None:
        set_engine_env(model)
        try:
            from vllm import LLM
            from vllm.model_executor.models import registry
        except ImportError as error:
            raise UserError(
                f"engine vllm is not installed ({error}); install it or use --engine hf"
            ) from error
        if not has_gpu():
            inspect_models_here(registry)
        self._llm: Any = None
        self._sent = 0  # requests so far: LLM numbers them in this order
        self._seed_requests = not has_gpu()
        try:
            self._llm = LLM(
                model=str(model),
                max_model_len=max_model_len,
                dtype=dtype,  # type: ignore[arg-type]  # one of base.DTYPES
                enforce_eager=not has_gpu(),
                seed=seed,
                disable_log_stats=True,
                use_tqdm_on_load=False,
                trust_remote_code=False,
                **_unsplit_prefill(max_model_len),
            )
            self._tokenizer = self._llm.get_tokenizer()
            self._ends = end_tokens(model, self._tokenizer)
            collect_as_usual()
        except Exception as error:
            self.close()
            raise UserError(f"{model}: vLLM cannot load this model ({one_line(error)})") from error

    def generate(self, requests: Sequence[Request], sampling: Sampling, on_done: OnDone) -> None:
        """Responses as they finish; the longest requests run first, so that none runs alone at the end."""
        ordered = sorted(enumerate(requests), key=lambda pair: longest_first(pair[1]))
        waiting = self._enqueue(ordered, sampling)
        count = len(requests)
        engine = self._llm.llm_engine
        while engine.has_unfinished_requests():
            for output in engine.step():
                if not output.finished:
                    continue
                position, request = waiting.pop(output.request_id)
                samples = sorted(output.outputs, key=lambda one: one.index)
                added = on_done(position, [self._generation(one, request) for one in samples])
                waiting |= self._enqueue(list(enumerate(added, start=count)), sampling)
                count += len(added)

    def _enqueue(
        self, requests: Sequence[tuple[int, Request]], sampling: Sampling
    ) -> dict[str, tuple[int, Request]]:
        """Queue the requests; LLM numbers them in this order (vllm/entrypoints/offline_utils.py,
        OfflineInferenceMixin._add_request).
        """
        from vllm import SamplingParams

        if not requests:
            return {}
        prompts = [{"prompt_token_ids": list(request.prompt.token_ids)} for _, request in requests]
        params = [
            SamplingParams(
                n=request.n,
                max_tokens=request.max_tokens,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=request.seed if self._seed_requests else None,
                stop_token_ids=self._ends,
                stop=list(request.stop) or None,
                detokenize=bool(request.stop),
            )
            for _, request in requests
        ]
        self._llm.enqueue(prompts, params, use_tqdm=False)
        first = self._sent
        self._sent += len(requests)
        return {str(first + place): pair for place, pair in enumerate(requests)}

    def _generation(self, output: Any, request: Request) -> Generation:
        # vLLM's incremental decoder drops an incomplete character at the end.
        ids = list(output.token_ids)
        text = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return Generation(cut_at_stop(text, request.stop), len(ids), str(output.finish_reason))

    def close(self) -> None:
        """Shut the engine down and free its memory and its process group."""
        llm, self._llm = self._llm, None
        if llm is not None:
            with contextlib.suppress(Exception):  # the core is already down
                llm.llm_engine.engine_core.shutdown()
            del llm
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        cleanup_dist_env_and_memory()  # collects garbage too


def _unsplit_prefill(max_model_len: int) -> dict[str, Any]:
    """On CPU no prompt is split over two steps: vLLM 0.29 then rewinds the request's generator, which a CPU generator
    does not support (vllm/v1/worker/gpu_model_runner.py, GPUModelRunner._bookkeeping_sync).
    """
    if has_gpu():
        return {}
    return {"enable_chunked_prefill": False, "max_num_batched_tokens": max(4096, max_model_len)}
