"""What sleeps on a host lies in pinned blocks, which torch rounds up to powers of two (ATen's CachingHostAllocator).

Sources of the blocks: deepspeed/runtime/zero/stage3.py, DeepSpeedZeroOptimizer_Stage3.offload_states and
deepspeed/runtime/zero/offload_states.py, offload_adam_states for the training; vllm/device_allocator/cumem.py,
CuMemAllocator.sleep for an engine, which copies each of its weights into a block of its own.
"""

from __future__ import annotations

from dipo_openrlhf.estimate.model_shapes import ModelShape
from dipo_openrlhf.estimate.workload import Line, Workload

SUB_GROUP = 1e9  # parameters: DeepSpeed's default of sub_group_size, which OpenRLHF leaves ("auto")


def block(size: float) -> int:
    """Bytes of the pinned block for `size` bytes."""
    return 1 << max(0, int(size) - 1).bit_length() if size >= 1 else 0


def training_blocks(work: Workload) -> list[float]:
    """Sizes in bytes on one GPU's behalf: master weights and both moments by sub-group, then the gradient at once."""
    left, found = work.trained_parameters / work.ranks, []
    gradient = [left * work.gradient_bytes] if work.trainer_sleep else []
    while left > 0:
        part = min(left, SUB_GROUP) if work.zero_stage == 3 else left
        found += [4 * part] * 3
        left -= part
    return found + gradient


def engine_blocks(shape: ModelShape, tp: int) -> list[float]:
    """Sizes in bytes of the weights on one of an engine's GPUs, as vLLM fuses them; norms and biases are left out."""
    layer = [
        shape.hidden * (shape.query + 2 * shape.key_value),
        shape.query * shape.hidden,
        shape.hidden * 2 * shape.intermediate,
        shape.intermediate * shape.hidden,
    ]
    embeddings = [shape.vocab * shape.hidden] * (1 if shape.tied else 2)
    return [2 * size / tp for size in (*layer * shape.layers, *embeddings)]


def rounding(work: Workload) -> Line:
    """Bytes of a host that the rounding adds to memory.host_bytes."""
    sizes: list[float] = []
    if work.trainer_sleep or work.adam_offload:
        sizes += training_blocks(work)
    if work.engine_sleep:
        sizes += engine_blocks(work.shape, work.engine_tp)
    more = sum(block(size) for size in sizes) - sum(sizes)
    how = f"{work.actor_gpus_per_node} GPUs x {len(sizes)} blocks, each a power of two"
    return Line("pinned blocks, rounded up", work.actor_gpus_per_node * more, how)
