"""The actor's end, in place of openrlhf/trainer/ray/ppo_actor.py, ActorPPOTrainer.broadcast_to_vllm.

OpenRLHF calls every engine once for each parameter, about 400 times a model, and waits each time. Here parameters travel
in buckets of BUCKET_BYTES, by the same transports: NCCL (gloo on CPU) from rank 0, or CUDA IPC where each engine shares
its GPU with a rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import deepspeed
import ray
import torch
import torch.distributed as dist
from openrlhf.trainer.ray.utils import get_physical_gpu_id
from openrlhf.utils.distributed_util import torch_dist_barrier_and_cuda_sync
from torch.multiprocessing.reductions import reduce_tensor

from dipo_openrlhf.openrlhf_patch.weight_sync.buckets import Layout, pack
from dipo_openrlhf.openrlhf_patch.weight_sync.worker import broadcast
from dipo_openrlhf.recipe.schema import BUCKET_BYTES

Weights = Iterable[tuple[str, torch.Tensor]]


def send_weights(trainer: Any, weights: Weights, bucket_bytes: int = BUCKET_BYTES) -> int:
    """Send `weights` to all engines of the ActorPPOTrainer `trainer`. To be called on every rank; returns the buckets.

    weights: names as in the Hugging Face checkpoint, whole tensors, equal on every rank; a tensor is copied before the
    next one is requested (full_parameters).
    """
    torch.cuda.empty_cache()
    resets = _reset_prefix_caches(trainer)
    count = 0
    if trainer.use_cuda_ipc or dist.get_rank() == 0:
        send = _share if trainer.use_cuda_ipc else _send
        for layout, flat in pack(weights, torch.cuda.current_device(), bucket_bytes):
            send(trainer, layout, flat)
            del flat  # before the next one is made
            count += 1
    else:
        for _ in weights:  # this rank's part in gathering them
            pass
    ray.get(resets)
    torch.cuda.empty_cache()
    torch_dist_barrier_and_cuda_sync()
    return count


def full_parameters(
    actor: Any, args: Any, chunk_bytes: int = BUCKET_BYTES
) -> Iterator[tuple[str, torch.Tensor]]:
    """The actor's parameters, whole on every rank while they are current. With ZeRO 3 a chunk is gathered at once.

    Tied parameters come once, under their first name. Of a model with images the frozen encoder is left out, as
    OpenRLHF does.
    """
    model = actor.model.module
    trained_only = getattr(actor, "is_vlm", False)
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad or not trained_only]
    # Tensor-parallel layers gather in ways of their own: one parameter at a time.
    limit = 0 if args.ds.tensor_parallel_size > 1 else chunk_bytes
    for chunk in _chunks(named, limit):
        with _gathered([parameter for _, parameter in chunk], model, args):
            for name, parameter in chunk:
                yield name, parameter.data


def _chunks(
    named: list[tuple[str, torch.nn.Parameter]], limit: int
) -> Iterator[list[tuple[str, torch.nn.Parameter]]]:
    """Consecutive parameters of `limit` bytes at most, or one."""
    chunk: list[tuple[str, torch.nn.Parameter]] = []
    total = 0
    for name, parameter in named:
        size = getattr(parameter, "ds_numel", parameter.numel()) * parameter.element_size()
        if chunk and total + size > limit:
            yield chunk
            chunk, total = [], 0
        chunk.append((name, parameter))
        total += size
    if chunk:
        yield chunk


def _gathered(parameters: list[Any], model: Any, args: Any) -> AbstractContextManager[Any]:
    if args.ds.tensor_parallel_size > 1:
        layers = deepspeed.module_inject.layers
        gathered: AbstractContextManager[Any] = layers.GatherReplacedLayerParams(
            parameters, model, enabled=True
        )
        return gathered
    return deepspeed.zero.GatheredParameters(parameters, enabled=args.ds.zero_stage == 3)


def _reset_prefix_caches(trainer: Any) -> list[Any]:
    if not getattr(trainer.args.vllm, "enable_prefix_caching", False) or dist.get_rank() != 0:
        return []
    return [engine.reset_prefix_cache.remote() for engine in trainer.vllm_engines]


def _send(trainer: Any, layout: Layout, flat: torch.Tensor) -> None:
    """From rank 0 to every engine's ranks."""
    refs = [engine.receive_bucket.remote(*layout) for engine in trainer.vllm_engines]
    broadcast(trainer._model_update_group, flat)
    ray.get(refs)


def _share(trainer: Any, layout: Layout, flat: torch.Tensor) -> None:
    """Each rank's bucket is read by the engine on the same GPU. The memory is this rank's own: it outlives the call."""
    handles: list[Any] = [None] * dist.get_world_size()
    torch.cuda.synchronize()
    dist.all_gather_object(handles, {get_physical_gpu_id(): reduce_tensor(flat)})
    if dist.get_rank() == 0:
        by_gpu = {gpu: handle for one in handles for gpu, handle in one.items()}
        ray.get([engine.receive_bucket.remote(*layout, by_gpu) for engine in trainer.vllm_engines])
    torch_dist_barrier_and_cuda_sync()
