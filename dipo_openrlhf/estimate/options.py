"""The named assumptions of an estimate; imports nothing, so that `dipo --help` stays quick."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Assumptions:
    """What a recipe does not say. None of these is measured: each is an option of `dipo doctor RECIPE`."""

    gpu_memory_gib: float = 79.0
    """Memory of one GPU that programs can use; an H100 or A100 of 80 GB."""
    reserve_gib: float = 4.0
    """CUDA context, NCCL buffers and fragmentation, beside all that is counted."""
    asleep_gib: float = 2.0
    """What a sleeping rollout engine keeps of the GPU: its context and CUDA graphs."""
    engine_gib: float = 3.0
    """Of an engine's budget: activations and CUDA graphs."""
    tflops: float = 989.0
    """Peak of one GPU in bf16 without sparsity; H100 SXM by its data sheet."""
    utilization: float = 0.35
    """Share of that peak which training and scoring reach."""
    bandwidth_tbs: float = 3.35
    """Memory bandwidth of one GPU, TB/s; H100 SXM by its data sheet."""
    decode_utilisation: float = 0.5
    """Share of the bandwidth that decoding reaches."""
    tokens_per_second: float = 0.0
    """Tokens a second of one engine; 0: computed from bandwidth, weights and cache."""
    max_num_seqs: int = 128
    """Sequences that an engine decodes at once; vLLM 0.29's default as OpenRLHF starts it (config/scheduler.py:44)."""
    prompt_tokens: int = 0
    """Mean prompt; 0: a quarter of the room that the recipe leaves for it."""
    response_tokens: int = 0
    """Mean response; 0: a quarter of rollout.max_new_tokens."""
    tail: float = 1.3
    """Sampling takes this much longer than at full engines: the last long answers leave them half empty."""
    sync_gbs: float = 20.0
    """GB/s at which new weights reach the engines."""
    host_gbs: float = 20.0
    """GB/s between a GPU and the host's memory, for sleep and wake."""
    prompts: int = 0
    """Prompts in the data; 0: the rows of data.prompt_dataset where it is a local .jsonl, else not known."""
