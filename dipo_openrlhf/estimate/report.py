"""`dipo doctor RECIPE`: the estimate of memory and time, line by line."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from dipo_openrlhf.estimate import memory
from dipo_openrlhf.estimate.host import cores, host_memory
from dipo_openrlhf.estimate.options import Assumptions
from dipo_openrlhf.estimate.picture import picture
from dipo_openrlhf.estimate.step_time import step_time
from dipo_openrlhf.estimate.workload import GIB, Line, Workload, uses_flash_attn, workload_of
from dipo_openrlhf.recipe.placement import needs_of, placement
from dipo_openrlhf.recipe.recipe import Recipe

_WIDTH = 36
_NO_FLASH_ATTN = "attention without flash-attn is slower than that; by how much is not estimated"


def estimate_lines(
    recipe: Recipe, assume: Assumptions, measured: Sequence[str] = (), by: str = ""
) -> tuple[bool, list[str]]:
    """(whether it fits, the estimate as text). `measured`: assumptions that are measured, `by` what.

    Raises UserError for what cannot be estimated.
    """
    work = workload_of(recipe, assume)
    phases = memory.phases(work, assume)
    rollouts = memory.engine(work, assume)
    fits, verdict = memory.verdict(phases, rollouts, work)
    where = needs_of(recipe)
    host = host_memory(recipe, where.layout, work, assume)
    lines = [*_head(recipe, work), "", *picture(where.layout), "", "Memory of one GPU, GiB"]
    for phase in phases:
        total = Line("sum", phase.total, f"of {assume.gpu_memory_gib:g}")
        lines += [f"  {phase.name}", *(_row(line, GIB, 1) for line in (*phase.lines, total))]
    lines += [
        "",
        "One rollout engine, GiB of each of its GPUs",
        *(_row(line, GIB, 1) for line in rollouts.lines),
    ]
    per_token = work.shape.kv_bytes / work.engine_tp
    mean = work.prompt_tokens + work.response_tokens
    lines += [
        _row(Line("tokens in the cache", rollouts.kv_tokens, f"{per_token:,.0f} B a token"), 1, 0),
        _row(Line("longest sequences at once", rollouts.longest, f"of {work.max_len:,} tokens"), 1, 0),
        _row(Line("mean sequences at once", rollouts.mean, f"of {mean:,} tokens"), 1, 0),
        "",
        "Beside the GPUs of each node, GiB",
        *(
            _row(line, GIB, 0)
            for line in (*host.lines, host.total, memory.disk_bytes(work), memory.exports_bytes(work))
        ),
        _row(cores(recipe, where.layout), 1, 0),
        "",
        *_time(work, assume, max(1, rollouts.mean)),
        *(["  " + _NO_FLASH_ATTN] if not (recipe.on_cpu or uses_flash_attn(recipe)) else []),
        "",
        *([f"Measured ({by}): {_options(assume, work, measured)}"] if measured else []),
        "Assumed, not measured (each is an option): " + _options(assume, work, _names(measured)),
        "",
        verdict,
    ]
    return fits, lines


def _head(recipe: Recipe, work: Workload) -> list[str]:
    run, shape = recipe.run, work.shape
    cluster = f"{run.nodes} x {run.gpus_per_node} GPUs" if run.nodes else "no cluster named"
    turns = ", engines on the actor's GPUs in turn" if work.shared else ""
    lines = [
        f"{recipe.name}: {recipe.get('actor.model_name_or_path')}, {recipe.dipo.method}",
        f"{cluster}: {placement(recipe)}{turns}; {work.engines} engines of {work.engine_tp}",
        f"{shape.parameters:,} parameters: {shape.layers} layers x {shape.layer_parameters:,} + "
        f"{'one embedding' if shape.tied else 'two embeddings'} of {shape.vocab:,} x {shape.hidden:,} + {shape.hidden:,}",
    ]  # fmt: skip
    if adapters := work.adapters:
        lines.append(
            f"{adapters.parameters(shape):,} trained, of LoRA: {shape.layers} layers x "
            f"{adapters.block_parameters(shape):,}, rank {adapters.rank} at {', '.join(adapters.modules)}"
        )
    return lines


def _time(work: Workload, assume: Assumptions, fitting: int) -> list[str]:
    time = step_time(work, assume, fitting)
    lines = ["One step", *(_row(line, 1, 0) for line in time.rollout), "One step, seconds"]
    lines += [_row(line, 1, 0) for line in (*time.parts, Line("step", time.total, time.how))]
    if time.steps:
        hours = time.steps * time.total / 3600
        how = f"{time.steps} steps: {work.prompts:,} prompts / {work.prompts_a_step}, rounded up, x {work.episodes}"
        lines.append(_row(Line("run, hours", hours, f"{how}; without evaluation"), 1, 1))
    else:
        lines.append("  the run's length is not known: --prompts N, or data.prompt_dataset as a local .jsonl")
    return lines


def _row(line: Line, unit: float, digits: int) -> str:
    return f"    {line.what:<{_WIDTH}}{line.value / unit:>14,.{digits}f}   {line.how}"


def _names(without: Sequence[str]) -> list[str]:
    return [field.name for field in dataclasses.fields(Assumptions) if field.name not in without]


def _options(assume: Assumptions, work: Workload, names: Sequence[str]) -> str:
    used = dataclasses.asdict(assume)
    used.update({name: getattr(work, name) for name in ("prompt_tokens", "response_tokens", "prompts")})
    return " ".join(f"--{name.replace('_', '-')} {used[name]:g}" for name in names if used[name])
