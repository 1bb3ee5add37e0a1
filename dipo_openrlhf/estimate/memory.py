"""Memory of one GPU in each phase of a step, and of the host and the disk. Pure functions; bytes.

What DeepSpeed keeps, per parameter: 2 bytes of weight, the gradient, and 12 bytes of optimizer state (an fp32 copy and
Adam's two moments), divided over the ranks from ZeRO stage 3, 2 and 1 on (Rajbhandari et al., arXiv 1910.02054). With
LoRA gradients and optimizer state are those of the adapters alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dipo_openrlhf.estimate.adapters import Adapters, linear_sizes
from dipo_openrlhf.estimate.model_shapes import ModelShape
from dipo_openrlhf.estimate.options import Assumptions
from dipo_openrlhf.estimate.workload import GIB, Line, Workload
from dipo_openrlhf.recipe.schema import BUCKET_BYTES

OPTIMIZER_BYTES = 12
LIVE_PARAMETERS = 1e9  # DeepSpeed's default of stage3_max_live_parameters, which OpenRLHF leaves ("auto")
BUCKET_PARAMETERS = 5e8  # and of reduce_bucket_size
# A logit in bf16 and fp32, its probability and noise in fp32, and the sort of top-p: vllm/v1/sample/sampler.py, Sampler.
_SAMPLER_BYTES = 26
# Base, update and sum in fp32, and the result in bf16: openrlhf_patch/lora.py, merged_weight.
MERGE_BYTES = 14
LOGIT_BYTES_WITHOUT_FLASH_ATTN = 16.3
"""At the peak of the backward pass of openrlhf/models/utils.py, log_probs_from_logits without flash-attn's cross-entropy;
measured on CPU for 4,096 to 22,528 tokens."""


@dataclass(frozen=True)
class Phase:
    """What is on one GPU at the same time."""

    name: str
    lines: tuple[Line, ...]
    limit: float  # bytes that the GPU has

    @property
    def total(self) -> float:
        return sum(line.value for line in self.lines)

    @property
    def free(self) -> float:
        """Bytes left; negative where it does not fit."""
        return self.limit - self.total


@dataclass(frozen=True)
class Engine:
    """One rollout engine: its budget, and the sequences for which its key-value cache has room."""

    lines: tuple[Line, ...]
    kv_tokens: int
    longest: int  # sequences of data.max_len that fit
    mean: int  # sequences of mean length that fit


def layer_bytes(shape: ModelShape, tokens: int, adapters: Adapters | None = None) -> float:
    """What one layer keeps for its backward pass, without checkpointing.

    Per token, in bf16: its input and the results of both norms before their weights (4 hidden), query and key before
    and after the rotation, value, attention's result (3 query + 3 key_value), and gate, up, silu(gate) and their
    product (4 intermediate); in fp32: the input of both norms (2 hidden). Qwen3's norms of query and key keep 6 bytes an
    element more. With adapters the norms' weights are frozen, so that what they multiply is not kept (2 hidden, and 2
    bytes an element of Qwen3's), and each adapter keeps its inner product (rank). A test counts the saved tensors of real
    layers.
    """
    half = 4 * shape.hidden + 3 * shape.query + 3 * shape.key_value + 4 * shape.intermediate
    norms = 6 * (shape.query + shape.key_value) if shape.qk_norm else 0
    if adapters:
        half += adapters.rank * len(adapters.modules) - 2 * shape.hidden
        norms = norms * 4 // 6
    return tokens * (2 * half + 4 * 2 * shape.hidden + norms)


def count(parameters: float) -> str:
    """As a line shows it."""
    return f"{parameters / 1e9:.2f}e9" if parameters >= 1e8 else f"{parameters / 1e6:.1f}e6"


def training_state(work: Workload) -> tuple[Line, Line, Line]:
    """(weights, gradients, optimizer state) of one GPU."""
    params, ranks, stage = work.trained_parameters, work.ranks, work.zero_stage

    def line(what: str, per: int, from_stage: int, params: float = params) -> Line:
        divided = stage >= from_stage
        how = f"{per} B x {count(params)}" + (f" / {ranks} ranks" if divided else "") + f" (ZeRO {stage})"
        return Line(what, per * params / (ranks if divided else 1), how)

    optimizer = line("optimizer state", OPTIMIZER_BYTES, 1)
    if work.adam_offload:
        optimizer = Line("optimizer state", 0.0, "on the host (ds.adam_offload)")
    held = work.rank_parameters + (params if work.adapters else 0)
    return line("weights, bf16", 2, 3, held), line("gradients", work.gradient_bytes, 2), optimizer


def _working_space(work: Workload, *, backward: bool) -> list[Line]:
    lines = []
    if work.zero_stage == 3:
        live = min(LIVE_PARAMETERS, work.rank_parameters)
        lines.append(Line("gathered weights", 2 * live, f"2 B x {live:.1e} live parameters"))
    if backward:
        bucket = min(BUCKET_PARAMETERS, work.trained_parameters)
        lines.append(Line("gradients being reduced", 2 * bucket, f"2 B x {bucket:.0e}, one bucket"))
    return lines


def _activations(work: Workload) -> list[Line]:
    shape, tokens = work.shape, work.train_tokens
    layer = layer_bytes(shape, tokens, work.adapters)
    head, gib = f"{tokens:,} x {shape.vocab:,}", f"{layer / GIB:.2f} GiB"
    loss = (10.0 if work.flash_attn else LOGIT_BYTES_WITHOUT_FLASH_ATTN) * tokens * shape.vocab
    how = (
        "(4 fp32 + 4 its gradient + 2 that in bf16)"
        if work.flash_attn
        else f"{LOGIT_BYTES_WITHOUT_FLASH_ATTN}"
    )
    logits = Line("logits", loss, f"{head} x {how} B")
    if not work.checkpointing:
        how = f"{shape.layers} layers x {gib} for {tokens:,} tokens"
        return [Line("activations", shape.layers * layer, how), logits]
    if (again := 4.0 * tokens * shape.vocab + layer) > loss:
        logits = Line("logits and one layer computed again", again, f"{head} x 4 B + {gib} a layer")
    kept = 2.0 * shape.layers * tokens * shape.hidden
    how = f"{shape.layers} layers x {tokens:,} tokens x {shape.hidden:,} x 2 B"
    return [Line("checkpointed activations", kept, how), logits]


def _beside(work: Workload, assume: Assumptions) -> list[Line]:
    """What else is on an actor's GPU while the training computes."""
    lines = []
    if work.reference:
        divided = work.ranks if work.zero_stage == 3 else 1
        how = f"2 B x {work.rank_parameters:.2e} / {divided}"
        lines.append(Line("reference model", 2 * work.rank_parameters / divided, how))
    if work.shared and work.engine_sleep:
        lines.append(Line("engine, asleep", assume.asleep_gib * GIB, "assumed (--asleep-gib)"))
    elif work.shared:
        lines.append(_budget(work, assume))
    return [*lines, _reserve(assume)]


def _reserve(assume: Assumptions) -> Line:
    return Line("reserve", assume.reserve_gib * GIB, "assumed (--reserve-gib)")


def _budget(work: Workload, assume: Assumptions) -> Line:
    how = f"vllm.gpu_memory_utilization {work.utilization:g} x {assume.gpu_memory_gib:g} GiB"
    return Line("engine", work.utilization * assume.gpu_memory_gib * GIB, how)


def phases(work: Workload, assume: Assumptions) -> list[Phase]:
    """Update, scoring and sampling on the GPU of an actor; sampling only where an engine shares it."""
    limit = assume.gpu_memory_gib * GIB
    weights, gradients, optimizer = training_state(work)
    state = [weights, gradients, optimizer]
    update = [*state, *_working_space(work, backward=True), *_activations(work), *_beside(work, assume)]
    resting = [weights] if work.trainer_sleep else state
    how = f"{work.score_tokens:,} x {work.shape.vocab:,} x (2 bf16 + 4 fp32) B"
    logits = Line("logits", 6.0 * work.score_tokens * work.shape.vocab, how)
    scoring = [*resting, *_working_space(work, backward=False), logits, *_beside(work, assume)]
    found = [Phase("update", tuple(update), limit), Phase("scoring", tuple(scoring), limit)]
    if work.shared:
        lines = (*resting, *_merging(work), _sent(work), _budget(work, assume), _reserve(assume))
        found.append(Phase("sampling", lines, limit))
    return found


def _sent(work: Workload) -> Line:
    """Buckets of the weight sync; with ZeRO 3 the next one is gathered while one is sent (weight_sync/sender.py)."""
    bucket = min(max(BUCKET_BYTES, 2 * work.shape.vocab * work.shape.hidden), 2 * work.shape.parameters)
    count = 2 if work.zero_stage == 3 else 1
    return Line(
        "weights being sent", count * bucket, f"{count} x {bucket / GIB:.2f} GiB, a bucket or the embedding"
    )


def _merging(work: Workload) -> list[Line]:
    if work.adapters is None:
        return []
    largest = max(inputs * outputs for inputs, outputs in linear_sizes(work.shape).values())
    return [Line("one weight being merged", MERGE_BYTES * largest, f"{MERGE_BYTES} B x {largest:.2e}")]


def engine(work: Workload, assume: Assumptions) -> Engine:
    """The key-value cache of one engine's GPU, and how many sequences it holds."""
    shape, tp = work.shape, work.engine_tp
    budget = _budget(work, assume)
    weights = 2 * shape.parameters / tp
    width = 3 * shape.intermediate // tp + 4 * shape.hidden
    activations = 2.0 * work.batched_tokens * width
    sampler = float(_SAMPLER_BYTES * work.max_num_seqs * shape.vocab)
    cache = budget.value - weights - activations - sampler - assume.engine_gib * GIB
    per_token = shape.kv_bytes / tp
    tokens = max(0, int(cache / per_token))
    mean = work.prompt_tokens + work.response_tokens
    lines = (
        budget,
        Line("weights, bf16", -weights, f"2 B x {shape.parameters / 1e9:.2f}e9 / {tp} GPUs"),
        Line("activations", -activations, f"2 B x {work.batched_tokens:,} tokens x {width:,}"),
        Line("sampler", -sampler, f"{_SAMPLER_BYTES} B x {work.max_num_seqs} sequences x {shape.vocab:,}"),
        Line("CUDA graphs, NCCL", -assume.engine_gib * GIB, "assumed (--engine-gib)"),
        Line("key-value cache", cache, "what is left"),
    )
    return Engine(lines, tokens, tokens // work.max_len, tokens // mean)


def host_bytes(work: Workload) -> Line:
    """Memory of one node's host for what sleeps there."""
    per_gpu, parts, gpus = 0.0, [], work.actor_gpus_per_node
    if work.trainer_sleep or work.adam_offload:
        each = OPTIMIZER_BYTES + (work.gradient_bytes if work.trainer_sleep else 0)
        per_gpu += each * work.trained_parameters / work.ranks
        parts.append(f"{each} B x {count(work.trained_parameters)} / {work.ranks} of the training")
    if work.engine_sleep:
        per_gpu += 2 * work.shape.parameters / work.engine_tp
        parts.append(f"2 B x {work.shape.parameters / 1e9:.2f}e9 / {work.engine_tp} of the engine")
    how = f"{gpus} GPUs x ({' + '.join(parts)})" if parts else "nothing sleeps there"
    return Line("memory of each host, for what sleeps", gpus * per_gpu, how)


def disk_bytes(work: Workload) -> Line:
    """Checkpoints to resume from, one more than are kept while a save goes on; `exports_bytes` come on top."""
    params = work.adapters.parameters(work.shape) if work.adapters else work.shape.parameters
    kept = work.checkpoints + 1
    return Line("disk, checkpoints", 14.0 * params * kept, f"(2 + 12) B x {count(params)} x {kept}")


def exports_bytes(work: Workload) -> Line:
    """Hugging Face exports, in bf16: those that are kept, one being written, and those that wait for their evaluation."""
    params = work.shape.parameters
    if math.isinf(work.exports):
        how = f"2 B x {params / 1e9:.2f}e9 each, one of every save until it is evaluated: --prompts gives their number"
        return Line("disk, each export", 2.0 * params, how)
    return Line(
        "disk, exports", 2.0 * params * work.exports, f"2 B x {params / 1e9:.2f}e9 x {work.exports:.0f}"
    )


def verdict(found: list[Phase], rollouts: Engine, work: Workload) -> tuple[bool, str]:
    """(whether it fits, one line that says by how much)."""
    worst = min(found, key=lambda phase: phase.free)
    limit, total, free = (size / GIB for size in (worst.limit, worst.total, worst.free))
    if free < 0:
        return False, (
            f"does not fit: {worst.name} needs {total:.1f} GiB, {-free:.1f} more than the {limit:.1f} of a GPU"
        )
    if rollouts.longest < 1:
        return False, (
            f"does not fit: an engine's cache holds {rollouts.kv_tokens:,} tokens, {work.max_len - rollouts.kv_tokens:,} "
            f"fewer than one sequence of data.max_len {work.max_len:,}"
        )
    return True, f"fits: {worst.name} is the fullest, {total:.1f} of {limit:.1f} GiB, {free:.1f} left"
