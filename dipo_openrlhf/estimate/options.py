"""The assumptions of an estimate, options of `dipo doctor RECIPE`. Imports little, so that `dipo --help` stays quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

import typer


def _assumed(text: str, least: float = 0.0) -> Any:
    return typer.Option(help=text, min=least, rich_help_panel="Assumptions of an estimate (with RECIPE)")


def least_values() -> dict[str, float]:
    """The lower limit of each assumption's option."""
    hints = get_type_hints(Assumptions, include_extras=True)
    return {name: hint.__metadata__[0].min for name, hint in hints.items()}


@dataclass(frozen=True)
class Assumptions:
    """What a recipe does not state; `dipo check-gpu` measures some (measured.py).

    tflops and bandwidth_tbs are those of an H100 SXM's data sheet.
    """

    gpu_memory_gib: Annotated[float, _assumed("GiB of one GPU that programs can use.", 1)] = 79.0
    reserve_gib: Annotated[float, _assumed("GiB for CUDA, NCCL and fragmentation.")] = 4.0
    asleep_gib: Annotated[float, _assumed("GiB that a sleeping engine keeps.")] = 2.0
    engine_gib: Annotated[float, _assumed("GiB of an engine's CUDA graphs and NCCL buffers.")] = 1.5
    tflops: Annotated[float, _assumed("Peak TFLOP/s of one GPU, bf16 without sparsity.", 1)] = 989.0
    utilization: Annotated[float, _assumed("Share of the peak that training reaches.", 0.001)] = 0.35
    bandwidth_tbs: Annotated[float, _assumed("Memory bandwidth of one GPU, TB/s.", 0.001)] = 3.35
    decode_utilization: Annotated[float, _assumed("Share of the bandwidth that decoding reaches.", 0.001)] = (
        0.5
    )
    decode_ms: Annotated[
        float, _assumed("Milliseconds of one decoding step in addition to reading memory.")
    ] = 0.0
    tokens_per_second: Annotated[float, _assumed("New tokens a second of one engine; 0: computed.")] = 0.0
    prompt_tokens: Annotated[int, _assumed("Mean prompt, tokens; 0: a quarter of the room for it.")] = 0
    response_tokens: Annotated[
        int, _assumed("Mean response, tokens; 0: a quarter of rollout.max_new_tokens.")
    ] = 0
    tail: Annotated[float, _assumed("How much longer sampling takes than with full engines.", 1)] = 1.3
    """The last long answers leave the engines half empty."""
    sync_gbs: Annotated[float, _assumed("GB/s at which weights reach the engines.", 0.001)] = 20.0
    sync_seconds: Annotated[
        float, _assumed("Seconds of a weight sync in addition to the time for moving the bytes.")
    ] = 0.0
    host_gbs: Annotated[float, _assumed("GB/s between a GPU and its host, for sleep and wake.", 0.001)] = 20.0
    process_gib: Annotated[
        float, _assumed("GiB of host memory of one process (rank, engine or other).", 0)
    ] = 5.0
    grader_gib: Annotated[float, _assumed("GiB of host memory of one grading process.", 0)] = 0.25
    sleep_seconds: Annotated[
        float, _assumed("Seconds of sleep and wake in addition to the time for moving the bytes.")
    ] = 0.0
    prompts: Annotated[int, _assumed("Prompts in the data; 0: counted in a local .jsonl.")] = 0
