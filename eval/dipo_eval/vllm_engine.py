"""vLLM as an evaluation engine, on CPU and GPU.

A checkpoint is loaded anew for each evaluation. Measured on 2 CPU cores with a tiny Qwen3: the first load
and its import take 24 s on a fresh machine and 12 s in a later process, the next load in the same process
1.1 to 1.4 s and its release 0.6 s, with no growth in memory over 5 loads. Copying new weights into a
running engine (collective_rpc "reload_weights") takes 0.02 s, but with vLLM's packed oneDNN weights it is
silently WRONG: it reports success, and the old model goes on answering. So it is not done.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dipo_eval.cpu_env import has_gpu, set_engine_env
from dipo_eval.engine import Generation, OnDone, Request, Sampling, one_line
from dipo_eval.errors import UserError


class VllmEngine:
    """A model in vLLM; see dipo_eval.engine.Engine. Token ids in, so vLLM never re-reads a chat template."""

    def __init__(self, model: Path, *, max_model_len: int, dtype: str) -> None:
        set_engine_env(model)
        try:
            from vllm import LLM
        except ImportError as error:
            raise UserError(
                f"engine vllm is not installed ({error}); install it or use --engine hf"
            ) from error
        self._llm: Any = None
        try:
            self._llm = LLM(
                model=str(model),
                max_model_len=max_model_len,
                dtype=dtype,  # type: ignore[arg-type]  # one of engine.DTYPES
                enforce_eager=not has_gpu(),
                seed=0,
                disable_log_stats=True,
                use_tqdm_on_load=False,
                trust_remote_code=False,
                **_whole_prefill(max_model_len),
            )
            self._tokenizer = self._llm.get_tokenizer()
        except Exception as error:
            self.close()
            raise UserError(f"{model}: vLLM cannot load this model ({one_line(error)})") from error

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, on_done: OnDone | None = None
    ) -> list[list[Generation]]:
        """Responses in request order; longest prompts run first, so none is left for the end."""
        from vllm import SamplingParams

        order = sorted(range(len(requests)), key=lambda i: -len(requests[i].prompt_token_ids))
        prompts = [{"prompt_token_ids": list(requests[i].prompt_token_ids)} for i in order]
        params = [
            SamplingParams(
                n=requests[i].n,
                max_tokens=requests[i].max_tokens,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=requests[i].seed,
                detokenize=False,
            )
            for i in order
        ]
        if not prompts:
            return []
        self._llm.enqueue(prompts, params, use_tqdm=False)
        bar = (lambda **_: _Bar(on_done)) if on_done else False
        outputs = self._llm.wait_for_completion(use_tqdm=bar)
        by_request: dict[int, list[Generation]] = {}
        for i, output in zip(order, outputs, strict=True):
            by_request[i] = [self._generation(o) for o in sorted(output.outputs, key=lambda o: o.index)]
        return [by_request[i] for i in range(len(requests))]

    def _generation(self, output: Any) -> Generation:
        # Decoded as a whole: vLLM's own incremental decoder drops an incomplete character at the end.
        ids = list(output.token_ids)
        text = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return Generation(text, ids, str(output.finish_reason))

    def close(self) -> None:
        """Shut the engine down and free its memory and its process group."""
        llm, self._llm = self._llm, None
        if llm is not None:
            with contextlib.suppress(Exception):  # a core that is already down is what we want
                llm.llm_engine.engine_core.shutdown()
            del llm
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        cleanup_dist_env_and_memory()  # collects garbage too


def _whole_prefill(max_model_len: int) -> dict[str, Any]:
    """On CPU no prompt is split over two steps: vLLM 0.29 then rewinds the request's own generator, and a CPU
    generator cannot be rewound (v1/worker/gpu_model_runner.py:3785, "CPU Generator does not use offset").
    """
    if has_gpu():
        return {}
    return {"enable_chunked_prefill": False, "max_num_batched_tokens": max(4096, max_model_len)}


class _Bar:
    """What LLM.generate uses of a tqdm bar, turned into calls of `on_done`."""

    def __init__(self, on_done: OnDone) -> None:
        self._on_done = on_done
        self.n = 0
        self.postfix = ""
        self.format_dict = {"elapsed": 1.0}  # only for a speed that nobody sees

    def update(self, count: int = 1) -> None:
        self.n += count
        self._on_done(count)

    def refresh(self) -> None:
        """Nothing to draw."""

    def close(self) -> None:
        """Nothing to close."""
