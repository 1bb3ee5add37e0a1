"""What one rank of the actor does in a step: seconds and peak memory by phase, and the tokens that it trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from dipo_openrlhf.openrlhf_patch.observe.clock import PhaseClock

GIB = 1 << 30


@dataclass(frozen=True)
class RankReport:
    """Of one rank, since its last report.

    Attributes:
        seconds: by phase: forward, update, reload, offload, sync, save.
        tokens: of the sequences that were trained, prompts included.
        peak_gib: by phase, most memory that this process's tensors took at once; empty without a GPU.
        device_gib: by phase, memory of the GPU in use at its end, that of all processes; empty without a GPU.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    tokens: int = 0
    peak_gib: dict[str, float] = field(default_factory=dict)
    device_gib: dict[str, float] = field(default_factory=dict)


class RankMeter:
    """Counts for one rank."""

    def __init__(self) -> None:
        self.clock = PhaseClock()
        self.tokens = 0
        self._peak: dict[str, float] = {}
        self._device: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        on_gpu = torch.cuda.is_available()
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        with self.clock(phase):
            yield
        if on_gpu:
            free, total = torch.cuda.mem_get_info()
            for found, used in (
                (self._peak, torch.cuda.max_memory_allocated()),
                (self._device, total - free),
            ):
                found[phase] = max(found.get(phase, 0.0), used / GIB)

    def take(self) -> RankReport:
        """Since the last call; begins again."""
        report = RankReport(self.clock.take()[1], self.tokens, self._peak, self._device)
        self.tokens, self._peak, self._device = 0, {}, {}
        return report
