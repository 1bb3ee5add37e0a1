"""Sampling in transformers where each row of a batch has a seed of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import LogitsProcessor, TopPLogitsWarper

from dipo_eval.engines.base import Sampling


class SeededRows(LogitsProcessor):
    """Makes greedy search draw from softmax(scores / temperature), cut to top_p, each row by its own generator.

    The Gumbel-max trick: argmax(log p + g) with g = -log(e), e exponential, is a draw from p (Gumbel 1954; Maddison,
    Tarlow and Minka 2014, "A* Sampling", section 2). transformers itself draws all rows from one generator, so that
    a response would depend on its neighbours.
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
