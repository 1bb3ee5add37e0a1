"""The assumptions of an estimate, options of `dipo doctor RECIPE`. Imports little, so that `dipo --help` stays quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer


def _assumed(text: str, least: float = 0.0) -> Any:
    return typer.Option(help=text, min=least, rich_help_panel="Assumptions of an estimate (with RECIPE)")


@dataclass(frozen=True)
class Assumptions:
    """What a recipe does not state; none is measured. tflops and bandwidth_tbs are those of an H100 SXM's data sheet."""

    gpu_memory_gib: Annotated[float, _assumed("GiB of one GPU that programs can use.", 1)] = 79.0
    reserve_gib: Annotated[float, _assumed("GiB for CUDA, NCCL and fragmentation.")] = 4.0
    asleep_gib: Annotated[float, _assumed("GiB that a sleeping engine keeps.")] = 2.0
    engine_gib: Annotated[float, _assumed("GiB of an engine's activations and CUDA graphs.")] = 3.0
    tflops: Annotated[float, _assumed("Peak TFLOP/s of one GPU, bf16 without sparsity.", 1)] = 989.0
    utilization: Annotated[float, _assumed("Share of the peak that training reaches.", 0.001)] = 0.35
    bandwidth_tbs: Annotated[float, _assumed("Memory bandwidth of one GPU, TB/s.", 0.001)] = 3.35
    decode_utilization: Annotated[float, _assumed("Share of the bandwidth that decoding reaches.", 0.001)] = (
        0.5
    )
    tokens_per_second: Annotated[float, _assumed("New tokens a second of one engine; 0: computed.")] = 0.0
    max_num_seqs: Annotated[int, _assumed("Sequences that an engine decodes at once.", 1)] = 128
    """vLLM 0.29's default: vllm/config/scheduler.py, SchedulerConfig."""
    prompt_tokens: Annotated[int, _assumed("Mean prompt, tokens; 0: a quarter of the room for it.")] = 0
    response_tokens: Annotated[
        int, _assumed("Mean response, tokens; 0: a quarter of rollout.max_new_tokens.")
    ] = 0
    tail: Annotated[float, _assumed("How much longer sampling takes than with full engines.", 1)] = 1.3
    """The last long answers leave the engines half empty."""
    sync_gbs: Annotated[float, _assumed("GB/s at which weights reach the engines.", 0.001)] = 20.0
    host_gbs: Annotated[float, _assumed("GB/s between a GPU and its host, for sleep and wake.", 0.001)] = 20.0
    prompts: Annotated[int, _assumed("Prompts in the data; 0: counted in a local .jsonl.")] = 0
