"""The engine's end: vLLM loads each of its worker processes with this extension (`worker_extension_cls`)."""

from __future__ import annotations

from typing import Any

import torch
from openrlhf.trainer.ray.utils import get_physical_gpu_id
from openrlhf.trainer.ray.vllm_worker_wrap import WorkerWrap

from dipo_openrlhf.openrlhf_patch.weight_sync.buckets import Layout, views

EXTENSION = f"{__name__}.BucketWorker"


class BucketWorker(WorkerWrap):
    """OpenRLHF's extension, which receives whole buckets too."""

    device: torch.device
    model_config: Any
    model_runner: Any
    _model_update_group: Any
    bucket_group: Any = None

    def init_process_group(self, *args: Any, **kwargs: Any) -> None:
        """OpenRLHF's group is what buckets are received on."""
        super().init_process_group(*args, **kwargs)
        self.bucket_group = self._model_update_group

    def receive_bucket(
        self, names: list[str], shapes: list[tuple[int, ...]], dtype: torch.dtype, handles: Any = None
    ) -> None:
        """Receive one bucket and load what it holds.

        handles: CUDA IPC handles by GPU, of an actor on the same GPU; else the bucket is broadcast by the group of
        `init_process_group`. Raises TypeError where the actor's weights are not of the engine's type.
        """
        layout = Layout(names, shapes, dtype)
        flat = self._receive_broadcast(layout) if handles is None else self._open_bucket(handles)
        if dtype != self.model_config.dtype:  # not before: the actor would wait for a receiver
            raise TypeError(f"weight {names[0]} is {dtype} in training but {self.model_config.dtype} in vLLM")
        self._load(layout, flat)
        torch.cuda.synchronize()  # the actor's memory is read until here

    def _load(self, layout: Layout, flat: torch.Tensor) -> None:
        self.model_runner.model.load_weights(weights=views(layout, flat))

    def _receive_broadcast(self, layout: Layout) -> torch.Tensor:
        flat = torch.empty(layout.elements, dtype=layout.dtype, device=self.device)
        broadcast(self.bucket_group, flat)
        return flat

    def _open_bucket(self, handles: dict[str, Any]) -> torch.Tensor:
        """As openrlhf/trainer/ray/vllm_worker_wrap.py, WorkerWrap.update_weight_cuda_ipc."""
        rebuild, arguments = handles[get_physical_gpu_id()]
        placed = list(arguments)
        placed[6] = self.device.index  # the two processes may number their devices differently
        flat: torch.Tensor = rebuild(*placed)
        return flat


def broadcast(group: Any, flat: torch.Tensor) -> None:
    """From rank 0 to all others, in place. group: NCCL's or gloo's communicator, or the name of a group of Ray's."""
    if isinstance(group, str):
        import ray.util.collective as collective

        collective.broadcast(flat, 0, group_name=group)
    else:
        group.broadcast(flat, src=0)
