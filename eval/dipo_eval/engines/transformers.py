"""transformers' generate as an evaluation engine: slower than vLLM, with no other dependency."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LogitsProcessor, TopPLogitsWarper

from dipo_eval.engines.base import Generation, OnDone, Request, Sampling, cut_at_stop, longest_first
from dipo_eval.engines.device import has_gpu, set_engine_env
from dipo_eval.engines.prompts import end_tokens
from dipo_eval.errors import UserError, one_line
from dipo_eval.workers.garbage import collect_as_usual

# Responses in one call of generate: on 2 cores a larger batch gains nothing.
BATCH_SIZE = 32


class HfEngine:
    """A model in transformers; see dipo_eval.engines.base.Engine. Prompts are padded on the left.

    Each response is sampled by its own generator, seeded by request and sample, so that it does not depend on its batch.
    """

    def __init__(self, model: Path, *, dtype: str) -> None:
        set_engine_env(model)
        from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
        from transformers.utils import logging

        logging.disable_progress_bar()
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(str(model))
            loaded: Any = AutoModelForCausalLM.from_pretrained(str(model), dtype=dtype)
        except Exception as error:
            raise UserError(f"{model}: transformers cannot load this model ({one_line(error)})") from error
        self._model: Any = loaded.to("cuda" if has_gpu() else "cpu").eval()
        self._ends = set(end_tokens(model, self._tokenizer))
        # As in vLLM, only the evaluation sets sampling: of generation_config.json only the end tokens count.
        self._model.generation_config = GenerationConfig()
        collect_as_usual()
        pad = self._tokenizer.pad_token_id
        self._pad = pad if pad is not None else next(iter(sorted(self._ends)), 0)

    def generate(self, requests: Sequence[Request], sampling: Sampling, on_done: OnDone) -> None:
        """Responses in batches of similar length, longest first; added requests join later batches."""
        everything = list(requests)
        waiting = [(i, sample) for i, request in enumerate(requests) for sample in range(request.n)]
        found: dict[int, list[Generation]] = {}
        while waiting:
            waiting.sort(key=lambda place: longest_first(everything[place[0]]))
            batch = [place for place in waiting if _alike(everything[place[0]], everything[waiting[0][0]])]
            batch = batch[:BATCH_SIZE]
            chosen = set(batch)
            waiting = [place for place in waiting if place not in chosen]
            rows = [(everything[i], sample) for i, sample in batch]
            for (i, _), generation in zip(batch, self._generate_batch(rows, sampling), strict=True):
                found.setdefault(i, []).append(generation)
                if len(found[i]) == everything[i].n:
                    for added in on_done(i, found.pop(i)):
                        waiting += [(len(everything), sample) for sample in range(added.n)]
                        everything.append(added)

    def close(self) -> None:
        """Free the model."""
        self._model = None
        gc.collect()
        if has_gpu():
            torch.cuda.empty_cache()

    def _generate_batch(self, rows: list[tuple[Request, int]], sampling: Sampling) -> list[Generation]:
        prompts = [request.prompt.token_ids for request, _ in rows]
        width = max(len(prompt) for prompt in prompts)
        ids = torch.full((len(rows), width), self._pad, dtype=torch.long)  # [B, P]
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(list(prompt))
            mask[row, width - len(prompt) :] = 1
        first, options = rows[0][0], dict[str, Any]()
        if sampling.temperature > 0:
            seeds = [request.seed + sample for request, sample in rows]
            options["logits_processor"] = [SeededRows(seeds, sampling, self._model.device)]
        if first.stop:
            options |= {"stop_strings": list(first.stop), "tokenizer": self._tokenizer}
        with torch.inference_mode():
            output = self._model.generate(
                input_ids=ids.to(self._model.device),
                attention_mask=mask.to(self._model.device),
                max_new_tokens=first.max_tokens,
                pad_token_id=self._pad,
                repetition_penalty=1.0,
                eos_token_id=sorted(self._ends) or None,
                do_sample=False,  # SeededRows samples
                **options,
            )
        return [self._cut(row, first.stop) for row in output[:, width:].tolist()]

    def _cut(self, ids: list[int], stop: tuple[str, ...]) -> Generation:
        end = next((position for position, token in enumerate(ids) if token in self._ends), None)
        kept = list(ids) if end is None else ids[: end + 1]
        while stop and end is None and kept and kept[-1] == self._pad:  # stopped before the rest of its batch
            kept.pop()
        full = self._tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        text = cut_at_stop(full, stop)
        return Generation(text, len(kept), "length" if end is None and text == full else "stop")


def _alike(a: Request, b: Request) -> bool:
    """Whether two requests can share a batch."""
    return a.max_tokens == b.max_tokens and a.stop == b.stop


class SeededRows(LogitsProcessor):
    """Makes greedy search sample from softmax(scores / temperature), cut to top_p, each row by its own generator.

    The Gumbel-max trick: argmax(log p + g) with g = -log(e), e exponential, is a draw from p (Gumbel 1954; Maddison,
    Tarlow and Minka 2014, "A* Sampling", section 2). transformers itself samples all rows from one generator, so that
    a response would depend on its batch.
    """

    def __init__(self, seeds: Sequence[int], sampling: Sampling, device: torch.device) -> None:
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self._temperature = sampling.temperature
        self._top_p = TopPLogitsWarper(sampling.top_p) if sampling.top_p < 1 else None

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """scores [B, V] -> scores with noise [B, V], float32; what top_p leaves out stays at -inf."""
        warm = scores.float() / self._temperature
        if self._top_p is not None:
            warm = self._top_p(input_ids, warm)
        noise = torch.empty_like(warm)
        for row, generator in zip(noise, self._generators, strict=True):
            row.exponential_(generator=generator)
        return warm - noise.log()  # type: ignore[return-value]
