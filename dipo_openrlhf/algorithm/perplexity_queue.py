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
    """log_ppl: float64, no NaN. correct: bool. group: int64, 0 .. groups - 1. All [N]; the names are the state's."""

    log_ppl: torch.Tensor
    correct: torch.Tensor
    group: torch.Tensor


class PerplexityQueue:
    """The last `batches` rollout batches of (log-perplexity, correctness, prompt group), on CPU.

    Source: arXiv 2604.13902, perplexity queue of the most recent two rollout batches. Part of the training state:
    `state_dict` holds plain values and CPU tensors alone, so `torch.load(weights_only=True)` reads it.

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
        """Adds one rollout batch and drops the oldest beyond `batches`. Rows whose log_ppl is NaN are dropped.

        log_ppl, correct, group: the same shape, [N] or [P, G]. Group ids are local to the batch; without any, a [P, G]
        batch is grouped by its rows and every response of an [N] batch is a group of its own. Raises ValueError for
        unequal shapes, an infinite log_ppl, or correct values other than 0 and 1.
        """
        if group is None:
            ids = torch.arange(len(log_ppl))
            group = ids.unsqueeze(1).expand(log_ppl.shape) if log_ppl.dim() == 2 else ids
        if not log_ppl.shape == correct.shape == group.shape:
            raise ValueError(
                f"PerplexityQueue.push: log_ppl {tuple(log_ppl.shape)}, correct {tuple(correct.shape)} and "
                f"group {tuple(group.shape)} must have the same shape"
            )
        p_N, b_N = check_pairs(log_ppl.reshape(-1), correct.reshape(-1), "PerplexityQueue.push")
        keep_N = ~torch.isnan(p_N)
        group_N = torch.unique(group.detach().reshape(-1).cpu()[keep_N], return_inverse=True)[1]
        self._held.append(_Batch(p_N[keep_N].clone(), b_N[keep_N].clone(), group_N))
        self.pushes += 1

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """All held pairs, oldest batch first: log_ppl [N] float64, correct [N] bool, group [N] int64.

        Groups of different batches get different ids.
        """
        nothing = _Batch(torch.empty(0, dtype=torch.float64), torch.empty(0).bool(), torch.empty(0).long())
        held = list(self._held) or [nothing]
        groups, offset = [], 0
        for batch in held:
            groups.append(batch.group + offset)
            offset += int(batch.group.max()) + 1 if batch.group.numel() else 0
        return (
            torch.cat([batch.log_ppl for batch in held]),
            torch.cat([batch.correct for batch in held]),
            torch.cat(groups),
        )

    def state_dict(self) -> dict[str, Any]:
        """The complete state as plain values and CPU tensors that share no memory with the queue."""
        held = [{name: tensor.clone() for name, tensor in vars(batch).items()} for batch in self._held]
        return {
            "version": STATE_VERSION,
            "batches": self.batches,
            "pushes": self.pushes,
            "last_threshold": self.last_threshold,
            "held": held,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replaces the content by a saved one. The queue keeps its own `batches`: of a longer saved queue the most
        recent ones are taken. Raises ValueError for a state that `state_dict` did not write, and then changes nothing.
        """
        found = state.get("version") if isinstance(state, Mapping) else type(state).__name__
        if found != STATE_VERSION:
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
        last = state["last_threshold"]
        pushes, last_threshold = int(state["pushes"]), None if last is None else float(last)
        self._held, self.pushes, self.last_threshold = restored._held, pushes, last_threshold


def check_pairs(
    log_ppl: torch.Tensor, correct: torch.Tensor, where: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """(p float64, b bool) on CPU. Raises ValueError for an infinite p (NaN may stay) or a b other than 0 and 1."""
    if not log_ppl.is_floating_point():
        raise ValueError(f"{where}: log_ppl must be floating point, got {log_ppl.dtype}")
    p = log_ppl.detach().to("cpu", torch.float64)  # float64: a threshold is a midpoint of float32 values
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
