"""Time of one training step. Pure functions; seconds.

Sampling is bound by memory bandwidth: each new token of a batch reads the weights once and every sequence's cache.
Training costs 6 FLOPs a parameter and token, 8 where activations are computed again, each 2 fewer with LoRA, and scoring
2 (Kaplan et al., arXiv 2001.08361, section 2.1; attention over the context and the adapters themselves are left out).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dipo_openrlhf.estimate.memory import OPTIMIZER_BYTES
from dipo_openrlhf.estimate.options import Assumptions
from dipo_openrlhf.estimate.workload import Line, Workload


@dataclass(frozen=True)
class StepTime:
    """Seconds of one step, part by part."""

    rollout: tuple[Line, ...]  # counts and rates that the parts are computed from
    parts: tuple[Line, ...]
    total: float
    how: str
    steps: int  # of the whole run, 0 where the number of prompts is not known


def sequences_at_once(work: Workload, fitting: int) -> int:
    """Sequences that an engine decodes together; fitting: those for which its cache has room."""
    share = math.ceil(_sampled(work) / work.engines)
    return max(1, min(work.max_num_seqs, fitting, share))


def _sampled(work: Workload) -> int:
    return round(work.prompts_a_step * (1 + work.refill)) * work.group


def decode_rate(work: Workload, assume: Assumptions, together: int) -> Line:
    """New tokens a second of one engine."""
    if assume.tokens_per_second:
        return Line("tokens a second, one engine", assume.tokens_per_second, "assumed (--tokens-per-second)")
    weights = 2 * work.shape.parameters / work.engine_tp
    context = work.prompt_tokens + work.response_tokens / 2
    cache = together * context * work.shape.kv_bytes / work.engine_tp
    bandwidth = assume.bandwidth_tbs * 1e12 * assume.decode_utilization
    rate = together / ((weights + cache) / bandwidth + assume.decode_ms / 1e3)
    how = (
        f"{together} sequences / (({weights / 1e9:.1f} GB weights + {cache / 1e9:.1f} GB cache) / "
        f"({assume.bandwidth_tbs:.3g} TB/s x {assume.decode_utilization:g}){_fixed(assume.decode_ms, 'ms')})"
    )
    return Line("tokens a second, one engine", rate, how)


def step_time(work: Workload, assume: Assumptions, fitting: int) -> StepTime:
    """Time of a step; fitting: sequences of mean length for which an engine's cache has room."""
    together = sequences_at_once(work, fitting)
    rate = decode_rate(work, assume, together)
    sampled, trained = _sampled(work), work.prompts_a_step * work.group
    new = sampled * work.response_tokens
    tokens = trained * (work.prompt_tokens + work.response_tokens)
    refill = f" x (1 + {work.refill:g}), at most" if work.refill else ""
    epochs = f"{trained:,} / {work.train_batch} x {work.epochs} epochs"
    rollout = (
        Line("responses", sampled, f"{work.prompts_a_step} prompts x {work.group}{refill}"),
        Line("new tokens", new, f"{sampled:,} x {work.response_tokens:,} on average"),
        rate,
        Line("tokens trained on", tokens, f"{trained:,} x ({work.prompt_tokens:,} + {work.response_tokens:,})"),
        Line("optimizer updates", trained * work.epochs / work.train_batch, epochs),
    )  # fmt: skip
    how = f"{new:.2e} / ({work.engines} engines x {rate.value:,.0f}) x {assume.tail:g} (--tail)"
    sampling = Line("sampling", new / (work.engines * rate.value) * assume.tail, how)
    parts = (
        sampling,
        _compute(work, assume, "scoring", 2, tokens),
        _compute(work, assume, "update", work.training_flops, tokens * work.epochs),
        *_moves(work, assume),
    )
    training = sum(part.value for part in parts[1:])
    if work.asynchronous:
        total, how = max(sampling.value, training), "the longer of sampling and all the rest"
    else:
        total, how = sampling.value + training, "one after another"
    steps = math.ceil(work.prompts / work.prompts_a_step) * work.episodes if work.prompts else 0
    return StepTime(rollout, parts, total, how, steps)


def _compute(work: Workload, assume: Assumptions, what: str, flops: int, tokens: float) -> Line:
    params = work.shape.parameters
    again = ", forward again for checkpointing" if what == "update" and work.checkpointing else ""
    speed = work.actor_gpus * assume.tflops * 1e12 * assume.utilization
    how = (
        f"{flops} x {params / 1e9:.2f}e9 x {tokens:.2e} / ({work.actor_gpus} GPUs x {assume.tflops:g} TFLOP/s x "
        f"{assume.utilization:g}){again}"
    )
    return Line(what, flops * params * tokens / speed, how)


def _moves(work: Workload, assume: Assumptions) -> list[Line]:
    weights = 2 * work.shape.parameters
    how = f"{weights / 1e9:.1f} GB at {assume.sync_gbs:.3g} GB/s{_fixed(assume.sync_seconds, 's')}"
    seconds = weights / assume.sync_gbs / 1e9 + assume.sync_seconds
    lines = [Line("weights to the engines", seconds, how)]
    moved = 0.0
    if work.trainer_sleep:
        moved += 2 * (OPTIMIZER_BYTES + work.gradient_bytes) * work.trained_parameters / work.ranks
    if work.engine_sleep:
        moved += 2 * weights / work.engine_tp
    if moved:
        how = f"{moved / 1e9:.1f} GB of each GPU, both ways, at {assume.host_gbs:.3g} GB/s"
        how += _fixed(assume.sleep_seconds, "s")
        lines.append(Line("sleep and wake", moved / assume.host_gbs / 1e9 + assume.sleep_seconds, how))
    return lines


def _fixed(value: float, unit: str) -> str:
    return f" + {value:.3g} {unit}" if value else ""
