"""vLLM's sleep mode on CPU: a sleeping engine's memory is really gone, so what uses it asleep fails as on a GPU.

As vllm/v1/worker/gpu_worker.py, Worker.sleep and Worker.wake_up: level 1 keeps a copy of the weights and drops the KV
cache, level 2 keeps the buffers alone. The rest (paused requests, the reset of the prefix cache, tags) is vLLM's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

WEIGHTS, KV_CACHE = "weights", "kv_cache"
_NOT_A_NUMBER = 255  # as every byte of a float of any size
_ZERO = 0


@dataclass(frozen=True)
class _Freed:
    """A storage without memory; `kept`: its bytes, or None where they are dropped and `filler` takes their place."""

    storage: torch.UntypedStorage
    size: int
    kept: torch.Tensor | None
    filler: int

    def restore(self) -> None:
        self.storage.resize_(self.size)
        memory = _bytes_of(self.storage)
        memory.fill_(self.filler) if self.kept is None else memory.copy_(self.kept)


def sleep(self: Any, level: int = 1) -> None:
    """In place of vllm/v1/worker/cpu_worker.py, CPUWorker.sleep, which does nothing."""
    runner = self.model_runner
    kept = [*runner.model.buffers(), *(runner.model.parameters() if level == 1 else ())]
    dropped = [] if level == 1 else list(runner.model.parameters())
    self.dipo_asleep = {
        WEIGHTS: [*_free(kept, keep=True), *_free(dropped, filler=_NOT_A_NUMBER)],
        KV_CACHE: _free(runner.kv_caches),
    }


def wake_up(self: Any, tags: list[str] | None = None) -> None:
    """In place of vllm/v1/worker/cpu_worker.py, CPUWorker.wake_up. Without tags everything wakes."""
    asleep = getattr(self, "dipo_asleep", {})
    for tag in tags or list(asleep):
        for freed in asleep.pop(tag, []):
            freed.restore()


def _free(tensors: Iterable[torch.Tensor], keep: bool = False, filler: int = _ZERO) -> list[_Freed]:
    """Take the memory of the tensors' storages, each once: tied weights share theirs."""
    storages = {one.untyped_storage().data_ptr(): one.untyped_storage() for one in tensors}
    freed = []
    for storage in storages.values():
        if storage.nbytes() == 0:
            continue
        kept = _bytes_of(storage).clone() if keep else None
        freed.append(_Freed(storage, storage.nbytes(), kept, filler))
        storage.resize_(0)
    return freed


def _bytes_of(storage: torch.UntypedStorage) -> torch.Tensor:
    return torch.empty(0, dtype=torch.uint8).set_(storage)
