"""The perplexity queue: (p, b) of every response of the most recent rollout batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

STATE_VERSION = 1


@dataclass(frozen=True)
class _Batch:
    log_ppl: torch.Tensor  # [N] float64, no NaN
    correct: torch.Tensor  # [N] bool
    group: torch.Tensor  # [N] int64, 0 .. groups-1


class PerplexityQueue:
    """The last `batches` rollout batches of (log-perplexity, correctness, prompt group), on CPU.

    Source: arXiv 2604.13902, perplexity queue of the most recent two rollout batches. Part of the training
    state: `state_dict` holds plain values and CPU tensors alone, so `torch.load(weights_only=True)` reads it.

    last_threshold: the last log-perplexity threshold that passed, nats per token, for `on_infeasible: last`.
    pushes: batches pushed since the start of training; the seed of `pick: random`.
    """

    def __init__(self, batches: int = 2) -> None:
        if isinstance(batches, bool) or not isinstance(batches, int) or batches < 1:
            raise ValueError(f"PerplexityQueue: batches = {batches!r}: must be an integer >= 1")
        self.batches = batches
        self.pushes = 0
        self.last_threshold: float | None = None
        self._held: deque[_Batch] = deque(maxlen=batches)

    def __len__(self) -> int:
        """Responses held, those without a perplexity not counted."""
        return sum(batch.log_ppl.numel() for batch in self._held)

    def __bool__(self) -> bool:
        return True  # an empty queue is still a queue: `queue or PerplexityQueue()` must not lose it

    def push(self, log_ppl: torch.Tensor, correct: torch.Tensor, group: torch.Tensor | None = None) -> None:
        """Adds one rollout batch and drops the oldest beyond `batches`. Rows whose log_ppl is NaN are
        dropped.

        log_ppl, correct, group: the same shape, [N] or [P, G]. Group ids are local to the batch; without
        any, a [P, G] batch is grouped by its rows and every response of an [N] batch is a group of its own.
        Raises ValueError for unequal shapes, an infinite log_ppl, or correct values other than 0 and 1.
        """
        if group is None:
            group = _default_group(log_ppl)
        if not log_ppl.shape == correct.shape == group.shape:
            raise ValueError(
                f"PerplexityQueue.push: log_ppl {tuple(log_ppl.shape)}, correct {tuple(correct.shape)} and "
                f"group {tuple(group.shape)} must have the same shape"
            )
        p, b = check_pairs(log_ppl.reshape(-1), correct.reshape(-1), "PerplexityQueue.push")
        keep = ~torch.isnan(p)
        ids = torch.unique(group.detach().reshape(-1).cpu()[keep], return_inverse=True)[1]
        self._held.append(_Batch(p[keep].clone(), b[keep].clone(), ids))
        self.pushes += 1

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """All held pairs, oldest batch first: log_ppl[N] float64, correct[N] bool, group[N] int64.

        Groups of different batches get different ids.
        """
        groups, offset = [], 0
        for batch in self._held:
            groups.append(batch.group + offset)
            offset += int(batch.group.max()) + 1 if batch.group.numel() else 0
        return (
            torch.cat([batch.log_ppl for batch in self._held] or [torch.empty(0, dtype=torch.float64)]),
            torch.cat([batch.correct for batch in self._held] or [torch.empty(0, dtype=torch.bool)]),
            torch.cat(groups or [torch.empty(0, dtype=torch.int64)]),
        )

    def state_dict(self) -> dict[str, Any]:
        """The whole state as plain values and CPU tensors that share no memory with the queue."""
        return {
            "version": STATE_VERSION,
            "batches": self.batches,
            "pushes": self.pushes,
            "last_threshold": self.last_threshold,
            "held": [
                {
                    "log_ppl": batch.log_ppl.clone(),
                    "correct": batch.correct.clone(),
                    "group": batch.group.clone(),
                }
                for batch in self._held
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replaces the content by a saved one. The queue keeps its own `batches`: of a longer saved queue the
        most recent ones are taken. Raises ValueError for a state that `state_dict` did not write, and then
        changes nothing.
        """
        if not isinstance(state, Mapping) or state.get("version") != STATE_VERSION:
            found = state.get("version") if isinstance(state, Mapping) else type(state).__name__
            raise ValueError(
                f"PerplexityQueue.load_state_dict: version {found!r}, expected {STATE_VERSION}; "
                "start with an empty queue or use the version that wrote the checkpoint"
            )
        missing = {"pushes", "last_threshold", "held"} - set(state)
        if missing:
            raise ValueError(f"PerplexityQueue.load_state_dict: the state lacks {', '.join(sorted(missing))}")
        restored = PerplexityQueue(self.batches)
        for batch in state["held"]:
            restored.push(batch["log_ppl"], batch["correct"], batch["group"])
        self._held = restored._held
        self.pushes = int(state["pushes"])
        last = state["last_threshold"]
        self.last_threshold = None if last is None else float(last)


def check_pairs(
    log_ppl: torch.Tensor, correct: torch.Tensor, where: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """(p[N] float64, b[N] bool) on CPU. Raises ValueError for an infinite p (NaN may stay) or a b not 0 or
    1."""
    if not log_ppl.is_floating_point():
        raise ValueError(f"{where}: log_ppl must be floating point, got {log_ppl.dtype}")
    p = log_ppl.detach().to("cpu", torch.float64)
    if bool(torch.isinf(p).any()):
        raise ValueError(f"{where}: log_ppl has an infinite value; a sampled token has probability 0")
    return p, check_correct(correct, where)


def check_correct(correct: torch.Tensor, where: str) -> torch.Tensor:
    """The correctness as bool on CPU, any shape. Raises ValueError for a value that is neither 0 nor 1."""
    b = correct.detach().cpu()
    if b.dtype != torch.bool:
        if not bool(((b == 0) | (b == 1)).all()):
            raise ValueError(f"{where}: correct must hold 0 and 1 alone; a reward needs `correct_from` first")
        b = b != 0
    return b


def _default_group(log_ppl: torch.Tensor) -> torch.Tensor:
    if log_ppl.dim() == 2:
        rows = torch.arange(log_ppl.shape[0])
        return rows.unsqueeze(1).expand(log_ppl.shape)
    return torch.arange(log_ppl.numel()).reshape(log_ppl.shape)
