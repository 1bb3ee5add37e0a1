"""Combinations that cannot work, refused before anything starts: each one line with the reason and a remedy."""

from __future__ import annotations

from typing import Any

from dipo_eval.errors import UserError
from dipo_openrlhf.recipe import Recipe

_OWN_METHODS = ("dipo", "grpo", "dapo", "dr_grpo")


def check_combinations(recipe: Recipe, cpu: bool) -> None:
    """Raise UserError on the first impossible combination."""
    _check_required(recipe)
    _check_secrets(recipe)
    _check_method(recipe)
    _check_sizes(recipe)
    if cpu:
        _check_cpu(recipe)


def _refuse(recipe: Recipe, key: str, reason: str, value: Any = None) -> UserError:
    shown = recipe.get(key) if value is None else value
    place = recipe.where.get(key, "default of OpenRLHF")
    return UserError(f"{place}: {key}: {shown!r}: {reason}")


def _check_required(recipe: Recipe) -> None:
    for key, what in (
        ("actor.model_name_or_path", "a model folder or hub name"),
        ("data.prompt_dataset", "a .jsonl file or a data set name"),
    ):
        if not recipe.get(key):
            raise UserError(f"{recipe.source}: {key} is missing: set it to {what}")
    if not recipe.get("vllm.num_engines"):
        raise _refuse(recipe, "vllm.num_engines", "rollouts need at least one vLLM engine")


def _check_secrets(recipe: Recipe) -> None:
    if recipe.get("logger.wandb.key"):
        raise UserError(
            f"{recipe.where['logger.wandb.key']}: logger.wandb.key: a key in an argument is printed and uploaded; "
            "set the environment variable WANDB_API_KEY instead"
        )


def _check_method(recipe: Recipe) -> None:
    method = recipe.dipo.method
    if method not in _OWN_METHODS:
        raise UserError(
            f"{recipe.where.get('dipo.method', recipe.source)}: dipo.method: {method!r} cannot be trained through "
            f"OpenRLHF yet; choose one of {', '.join(_OWN_METHODS)}"
        )
    estimator = recipe.get("algo.advantage.estimator")
    if estimator not in ("group_norm", "dr_grpo"):
        raise _refuse(
            recipe,
            "algo.advantage.estimator",
            f"{method} needs group advantages; gae, reinforce and reinforce_baseline whiten the whole batch and "
            "would destroy its signal: use group_norm or dr_grpo",
        )
    if recipe.get("rollout.n_samples_per_prompt") < 2:
        raise _refuse(
            recipe, "rollout.n_samples_per_prompt", "a group needs at least 2 samples (the paper uses 8)"
        )
    if method != "dipo":
        return
    if estimator != recipe.dipo.estimator:
        raise _refuse(
            recipe,
            "algo.advantage.estimator",
            f"dipo.estimator is {recipe.dipo.estimator!r}: both streams must be normalised alike",
        )
    if recipe.get("algo.kl.init_coef") != 0:
        raise _refuse(
            recipe,
            "algo.kl.init_coef",
            "must be 0 with DiPO: a KL term in the return makes zero-variance groups non-zero",
        )
    if recipe.get("algo.dynamic_filtering_enable"):
        raise _refuse(
            recipe,
            "algo.dynamic_filtering_enable",
            "must be false with DiPO: it deletes exactly the all-right and all-wrong groups that DiPO acts on",
        )
    if recipe.get("train.async_enable"):
        raise _refuse(recipe, "train.async_enable", "asynchronous training with DiPO is not supported yet")
    if recipe.dipo.normalizer != "shared":
        raise UserError(
            f"{recipe.where['dipo.normalizer']}: dipo.normalizer: {recipe.dipo.normalizer!r} is not supported "
            "through OpenRLHF yet; use shared"
        )


def _check_sizes(recipe: Recipe) -> None:
    samples = recipe.get("rollout.batch_size") * recipe.get("rollout.n_samples_per_prompt")
    train_batch = recipe.get("train.batch_size")
    if samples % train_batch:
        raise _refuse(
            recipe,
            "train.batch_size",
            f"must divide rollout.batch_size * rollout.n_samples_per_prompt = {samples}: the rest would be lost",
        )
    ranks = recipe.get("actor.num_nodes") * recipe.get("actor.num_gpus_per_node")
    ranks //= recipe.get("ds.ring_attn_size") * recipe.get("ds.tensor_parallel_size")
    micro = recipe.get("train.micro_batch_size")
    if not recipe.get("train.dynamic_batch_enable") and (ranks < 1 or train_batch % (micro * ranks)):
        raise _refuse(
            recipe,
            "train.batch_size",
            f"must be a multiple of train.micro_batch_size * actor ranks = {micro} * {ranks}",
        )
    new_tokens = recipe.get("rollout.max_new_tokens")
    if new_tokens is not None and new_tokens >= recipe.get("data.max_len"):
        raise _refuse(
            recipe,
            "rollout.max_new_tokens",
            f"leaves no room for a prompt within data.max_len = {recipe.get('data.max_len')}",
        )
    buffer = recipe.get("reward.overlong_buffer_len")
    limit = new_tokens or recipe.get("data.max_len")
    if buffer is not None and buffer > limit:
        raise _refuse(recipe, "reward.overlong_buffer_len", f"is longer than a response may be ({limit})")


def _check_cpu(recipe: Recipe) -> None:
    for key, allowed, reason in (
        ("ds.packing_samples", (False,), "packed samples need flash-attn and a GPU"),
        (
            "train.dynamic_batch_enable",
            (False,),
            "dynamic batches pack samples, which needs flash-attn and a GPU",
        ),
        ("vllm.enable_sleep", (False,), "sleep mode needs a GPU"),
        ("ds.enable_sleep", (False,), "sleep mode needs a GPU"),
        ("train.enable_ema", (False,), "the moving average is written for CUDA"),
        ("ds.load_in_4bit", (False,), "4-bit loading needs a GPU"),
        ("vllm.sync_backend", ("gloo",), "weights travel over gloo on CPU"),
        ("ds.attn_implementation", ("sdpa", "eager"), "on CPU use sdpa or eager"),
        ("vllm.tensor_parallel_size", (1,), "one process an engine on CPU"),
        ("ds.ring_attn_size", (1,), "ring attention needs a GPU"),
    ):
        if recipe.get(key) not in allowed:
            raise _refuse(recipe, key, f"{reason} (run.device is cpu)")
