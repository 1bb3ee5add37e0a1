"""transformers' own generate as an evaluation engine: slower than vLLM, and needs nothing else."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from dipo_eval.cpu_env import has_gpu, set_engine_env
from dipo_eval.engine import Generation, OnDone, Request, Sampling, one_line
from dipo_eval.errors import UserError

# Responses in one call of generate: on 2 cores a larger batch gains nothing.
BATCH_SIZE = 32


class HfEngine:
    """A model in transformers; see dipo_eval.engine.Engine. Prompts are padded on the left.

    Sampling is reproducible for one batch size: a batch is seeded by its first request, since transformers
    draws for all rows of a batch from one generator.
    """

    def __init__(self, model: Path, *, dtype: str, batch_size: int = BATCH_SIZE) -> None:
        set_engine_env(model)
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        self._batch_size = batch_size
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(str(model))
            loaded: Any = AutoModelForCausalLM.from_pretrained(str(model), dtype=dtype)
        except Exception as error:
            raise UserError(f"{model}: transformers cannot load this model ({one_line(error)})") from error
        self._model: Any = loaded.to("cuda" if has_gpu() else "cpu").eval()
        self._ends = _end_ids(self._model, self._tokenizer)
        pad = self._tokenizer.pad_token_id
        self._pad = pad if pad is not None else next(iter(sorted(self._ends)), 0)

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, on_done: OnDone | None = None
    ) -> list[list[Generation]]:
        """Responses in the order of the requests, generated in batches of similar length, longest first."""
        results: list[list[Generation]] = [[] for _ in requests]
        for batch in self._batches(requests):
            for i, generation in zip(
                batch, self._generate_batch([requests[i] for i in batch], sampling), strict=True
            ):
                results[i].append(generation)
            if on_done:
                on_done(len(batch))
        return results

    def close(self) -> None:
        """Free the model."""
        self._model = None
        gc.collect()
        if has_gpu():
            torch.cuda.empty_cache()

    def _batches(self, requests: Sequence[Request]) -> Iterator[list[int]]:
        """Indices of requests, each n times, cut where the batch is full or the token limit changes."""
        order = sorted(
            range(len(requests)), key=lambda i: (-requests[i].max_tokens, -len(requests[i].prompt_token_ids))
        )
        batch: list[int] = []
        for i in (index for index in order for _ in range(requests[index].n)):
            if batch and (
                len(batch) == self._batch_size or requests[batch[0]].max_tokens != requests[i].max_tokens
            ):
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch

    def _generate_batch(self, requests: list[Request], sampling: Sampling) -> list[Generation]:
        width = max(len(r.prompt_token_ids) for r in requests)
        ids = torch.full((len(requests), width), self._pad, dtype=torch.long)  # [B, P]
        mask = torch.zeros_like(ids)
        for row, request in enumerate(requests):
            length = len(request.prompt_token_ids)
            ids[row, width - length :] = torch.tensor(list(request.prompt_token_ids))
            mask[row, width - length :] = 1
        options: dict[str, Any] = {"do_sample": sampling.temperature > 0}
        if sampling.temperature > 0:
            # top_k 0: generation configs bring their own top_k, which vLLM's results would not have.
            options |= {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        torch.manual_seed(requests[0].seed)
        with torch.inference_mode():
            output = self._model.generate(
                input_ids=ids.to(self._model.device),
                attention_mask=mask.to(self._model.device),
                max_new_tokens=requests[0].max_tokens,
                pad_token_id=self._pad,
                repetition_penalty=1.0,
                eos_token_id=sorted(self._ends) or None,
                **options,
            )
        return [self._cut(row) for row in output[:, width:].tolist()]

    def _cut(self, ids: list[int]) -> Generation:
        end = next((position for position, token in enumerate(ids) if token in self._ends), None)
        kept = ids if end is None else ids[: end + 1]
        text = self._tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return Generation(text, kept, "length" if end is None else "stop")


def _end_ids(model: Any, tokenizer: Any) -> set[int]:
    """End tokens of the generation config and of the tokenizer: each may name one that the other does not."""
    configured = model.generation_config.eos_token_id
    ends = set(configured) if isinstance(configured, list | tuple) else {configured}
    return {token for token in (*ends, tokenizer.eos_token_id) if token is not None}
