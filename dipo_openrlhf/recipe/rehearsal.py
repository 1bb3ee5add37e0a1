"""The shrink rule: how a recipe for a GPU cluster is run on a few CPU cores with its own switches.

A rehearsal has a small model, short sequences, small batches and few ranks; everything else is as the recipe has it. What
may differ is in this file alone: SIZES by `rehearsal`, DEVICE because there is no GPU, REPLACED because model, data and
folders are the rehearsal's own. Any other difference is an error (`check_rehearsal`), so that a switch which no rehearsal
runs cannot be shipped.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from dipo_eval.errors import UserError
from dipo_openrlhf.recipe.placement import placement
from dipo_openrlhf.recipe.recipe import Recipe

NODES = 2  # of the cluster, and of the actor with one GPU each
ENGINES = 2
PROMPTS = 8  # a step
GROUP = 4  # responses to a prompt, at most
WINDOWS = 2  # optimizer steps a rollout batch, at most
PROMPT_TOKENS = 64  # room for a prompt
RESPONSE_TOKENS = 64  # at least; longer ones are 1/128 of the recipe's: 8,192 -> 64, 20,480 -> 160
SHORTER = 128
SAVE_STEPS = 2
EPISODES = 2
ITEMS = 4  # of each suite

DEVICE: dict[str, Any] = {
    "run.device": "cpu",
    "run.cpu_threads": 1,  # of each process: several share the cores
    "run.seeded_rollouts": "off",  # as `auto` is on GPUs
    "vllm.sync_backend": "gloo",  # nccl needs GPUs
    "vllm.enforce_eager": True,  # CUDA graphs need GPUs
}
REPLACED = (
    "actor.model_name_or_path", "data.prompt_dataset", "evaluate.suites", "evaluate.data_dir", "run.name", "run.dir",
    "run.ray", "ckpt.path", "ckpt.output_dir",
)  # fmt: skip
SIZES = (
    "run.nodes", "run.gpus_per_node", "actor.num_nodes", "actor.num_gpus_per_node", "ref.num_nodes",
    "ref.num_gpus_per_node", "vllm.num_engines", "rollout.batch_size", "rollout.n_samples_per_prompt",
    "rollout.vllm_generate_batch_size", "rollout.micro_batch_size", "train.batch_size", "train.micro_batch_size",
    "train.num_episodes", "data.max_len", "rollout.max_new_tokens", "rollout.max_tokens_per_gpu",
    "train.max_tokens_per_gpu", "reward.overlong_buffer_len", "evaluate.max_new_tokens", "evaluate.limit",
    "ckpt.save_steps", "dipo.min_side_samples",
)  # fmt: skip


def rehearsal(recipe: Recipe) -> dict[str, Any]:
    """What a rehearsal of `recipe`, as it is on GPUs, sets: dotted key -> value. Without the keys of REPLACED."""
    # Where the recipe leaves it open, the defaults of a CPU run must not take its place.
    as_on_gpus = {key: recipe.get(key) for key in ("ds.attn_implementation", "ds.param_dtype")}
    return {**as_on_gpus, **DEVICE, **_counts(recipe), **_lengths(recipe), **_batches(recipe)}


def _counts(recipe: Recipe) -> dict[str, int]:
    engines = max(1, ENGINES // recipe.get("vllm.tensor_parallel_size"))
    counts = {
        "actor.num_nodes": NODES,
        "actor.num_gpus_per_node": 1,
        "vllm.num_engines": engines,
    }
    parts = placement(recipe)
    if recipe.get("algo.kl.init_coef") > 0:
        counts |= {"ref.num_nodes": NODES, "ref.num_gpus_per_node": 1}
    gpus = NODES * (1 + bool(parts.reference)) + parts.watcher
    if parts.engines:
        gpus += engines * recipe.get("vllm.tensor_parallel_size")
    return {**counts, "run.nodes": NODES, "run.gpus_per_node": math.ceil(gpus / NODES)}


def _response(tokens: int) -> int:
    return max(RESPONSE_TOKENS, tokens // SHORTER)


def _lengths(recipe: Recipe) -> dict[str, int]:
    """The room for a prompt is fixed; token budgets keep their ratio to data.max_len, the penalty its to the response."""
    max_len = recipe.get("data.max_len")
    new_tokens = recipe.get("rollout.max_new_tokens")
    response = _response(new_tokens or max_len)
    lengths = {
        "data.max_len": PROMPT_TOKENS + response,
        "evaluate.max_new_tokens": _response(recipe.evaluate.max_new_tokens),
    }
    if new_tokens is not None:
        lengths["rollout.max_new_tokens"] = response
    for key in ("train.max_tokens_per_gpu", "rollout.max_tokens_per_gpu"):
        if recipe.get(key) is not None and recipe.get("train.dynamic_batch_enable"):  # else it has no effect
            lengths[key] = math.ceil(recipe.get(key) * lengths["data.max_len"] / max_len)
    if (buffer := recipe.get("reward.overlong_buffer_len")) is not None:
        lengths["reward.overlong_buffer_len"] = max(1, buffer * response // (new_tokens or max_len))
    return lengths


def _batches(recipe: Recipe) -> dict[str, int]:
    prompts, group = (recipe.get(f"rollout.{key}") for key in ("batch_size", "n_samples_per_prompt"))
    small_prompts, small_group = min(prompts, PROMPTS), min(group, GROUP)
    windows = min(prompts * group / recipe.get("train.batch_size"), WINDOWS)
    groups_a_window = max(1, round(small_prompts / windows))
    batches = {
        "rollout.batch_size": small_prompts,
        "rollout.n_samples_per_prompt": small_group,
        "train.batch_size": groups_a_window * small_group,
        "train.micro_batch_size": min(recipe.get("train.micro_batch_size"), 2),
        "rollout.micro_batch_size": min(recipe.get("rollout.micro_batch_size"), 4),
        "train.num_episodes": min(recipe.get("train.num_episodes"), EPISODES),
        "evaluate.limit": ITEMS,
        "dipo.min_side_samples": min(recipe.dipo.min_side_samples, small_group),
    }
    if recipe.get("ckpt.save_steps") > 0:
        batches["ckpt.save_steps"] = min(recipe.get("ckpt.save_steps"), SAVE_STEPS)
    if (over := recipe.get("rollout.vllm_generate_batch_size")) is not None:
        batches["rollout.vllm_generate_batch_size"] = math.ceil(over * small_prompts / prompts)
    return batches


def check_rehearsal(recipe: Recipe, rehearsed: Recipe) -> None:
    """Raise UserError naming every setting that `rehearsed` drops, adds or changes outside this file's rule."""
    before, after = _values(recipe), _values(rehearsed)
    allowed = {*SIZES, *REPLACED, *DEVICE}
    keys = sorted((recipe.openrlhf.keys() | rehearsed.openrlhf.keys() | before.keys()) - allowed)
    changed = []
    for key in keys:
        one, other = (
            values[key] if key in values else whole.get(key)
            for values, whole in ((before, recipe), (after, rehearsed))
        )
        if one != other:
            changed.append(f"{key} ({one!r} -> {other!r})")
    if changed:
        raise UserError(
            f"{recipe.source}: a rehearsal would not run it as it is: {', '.join(changed)}; what may differ is in "
            "dipo_openrlhf/recipe/rehearsal.py"
        )


def _values(recipe: Recipe) -> dict[str, Any]:
    """The values of this project's own sections."""
    sections = {
        "run": recipe.run.model_dump(),
        "dipo": asdict(recipe.dipo),
        "evaluate": recipe.evaluate.model_dump(),
        "watch": recipe.watch.model_dump(),
    }
    return {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}
