"""Combinations that cannot work, refused before anything starts: each one line with the reason and a remedy."""

from __future__ import annotations

from dipo_eval.errors import UserError
from dipo_eval.secrets.errors import short_repr
from dipo_openrlhf.algorithm import methods
from dipo_openrlhf.algorithm.method import Method
from dipo_openrlhf.recipe.adapter_checks import adapter_problem
from dipo_openrlhf.recipe.loss_checks import loss_problem
from dipo_openrlhf.recipe.no_effect import setting_without_effect
from dipo_openrlhf.recipe.openrlhf_args import openrlhf_actions
from dipo_openrlhf.recipe.openrlhf_checks import check_openrlhf
from dipo_openrlhf.recipe.placement import actor_gpus, check_cluster
from dipo_openrlhf.recipe.recipe import Recipe

_CORRECTION = "algo.advantage.is_correction_level"
_OVER_SAMPLING = "rollout.vllm_generate_batch_size"


def check_combinations(recipe: Recipe) -> None:
    """Raise UserError on the first impossible combination."""
    _check_required(recipe)
    _check_method(recipe)
    _check_sizes(recipe)
    if problem := (
        setting_without_effect(recipe)
        or loss_problem(recipe)
        or _async_problem(recipe)
        or adapter_problem(recipe)
    ):
        raise _refuse(recipe, *problem)
    if recipe.on_cpu:
        _check_cpu(recipe)
    check_cluster(recipe)
    check_openrlhf(recipe)


def _refuse(recipe: Recipe, key: str, reason: str) -> UserError:
    place = recipe.place(key)
    return UserError(f"{place}: {key}: {short_repr(recipe.get(key))}: {reason}")


def _check_required(recipe: Recipe) -> None:
    for key, what in (
        ("actor.model_name_or_path", "a model folder or hub name"),
        ("data.prompt_dataset", "a .jsonl file or a data set name"),
        ("data.input_key", "the key of a row's prompt"),
    ):
        if not recipe.get(key):
            raise UserError(f"{recipe.source}: {key} is missing: set it to {what}")
    if recipe.get("vllm.num_engines") is None:
        raise UserError(
            f"{recipe.source}: vllm.num_engines is missing: set it, or run.nodes and run.gpus_per_node, from which it "
            "follows"
        )
    if not recipe.get("vllm.num_engines"):
        raise _refuse(recipe, "vllm.num_engines", "rollouts need at least one vLLM engine")


def _check_method(recipe: Recipe) -> None:
    method = methods.get(recipe.dipo.method)
    wanted = recipe.dipo.for_method(method).estimator
    if recipe.get("algo.advantage.estimator") != wanted:
        raise _refuse(
            recipe,
            "algo.advantage.estimator",
            f"{method.name} normalises by group with {wanted}; gae, reinforce and reinforce_baseline whiten the whole "
            "batch and would destroy its signal: leave it out, or change dipo.estimator",
        )
    if recipe.get("rollout.n_samples_per_prompt") < 2:
        raise _refuse(recipe, "rollout.n_samples_per_prompt", "a group needs at least 2 samples")
    _check_kl(recipe, method)
    _check_sampling(recipe, method)
    _check_rewards(recipe, method)


def _check_kl(recipe: Recipe, method: Method) -> None:
    in_loss = recipe.get("algo.kl.use_loss") and not method.reallocates
    if recipe.get("algo.kl.init_coef") == 0 or in_loss:
        return
    remedy = "" if method.reallocates else ", or set algo.kl.use_loss: true"
    raise _refuse(
        recipe,
        "algo.kl.init_coef",
        f"must be 0 with {method.name}: a KL term in the return makes zero-variance groups non-zero{remedy}",
    )


def _check_sampling(recipe: Recipe, method: Method) -> None:
    if recipe.dipo.keep_and_refill and not method.reallocates:
        raise _refuse_dipo(recipe, "keep_and_refill", f"is a switch of DiPO; the method is {method.name}")
    if not recipe.get("algo.dynamic_filtering_enable"):
        return
    if method.reallocates:
        raise _refuse(
            recipe,
            "algo.dynamic_filtering_enable",
            f"must be false with {method.name}: it deletes exactly the all-correct and all-incorrect groups that are "
            "reallocated; dipo.keep_and_refill: true fills the batch and keeps them",
        )
    if method.dynamic_sampling:
        raise _refuse(
            recipe,
            "algo.dynamic_filtering_enable",
            f"{method.name} samples dynamically by itself, with a cap (dipo.refill_cap): leave it out",
        )


def _check_rewards(recipe: Recipe, method: Method) -> None:
    shaping = ("reward.overlong_buffer_len", "reward.stop_properly_penalty_coef")
    for key in shaping if method.reads_correctness else ():
        if recipe.get(key) is not None:
            raise _refuse(recipe, key, f"{method.name} reads correctness, not rewards: it would do nothing")
    clip_range, default_clip = "reward.clip_range", openrlhf_actions()["reward.clip_range"].default
    if not method.uses_openrlhf_advantages and list(recipe.get(clip_range)) != list(default_clip):
        raise _refuse(recipe, clip_range, f"{method.name} computes its own advantages: it would do nothing")


def _refuse_dipo(recipe: Recipe, key: str, reason: str) -> UserError:
    place = recipe.where.get(f"dipo.{key}", recipe.source)
    return UserError(f"{place}: dipo.{key}: {short_repr(getattr(recipe.dipo, key))}: {reason}")


def _check_window(recipe: Recipe) -> None:
    """What divides by a number of tokens of its own is exact only where a rollout batch is one optimizer step."""
    samples = recipe.get("rollout.batch_size") * recipe.get("rollout.n_samples_per_prompt")
    method = methods.get(recipe.dipo.method)
    key, asks = "method", method.reduction == "constant"
    if method.reallocates and recipe.dipo.normalizer == "per_stream":
        key, asks = "normalizer", True
    if recipe.dipo.keep_and_refill:
        key, asks = "keep_and_refill", True
    if not asks:
        return
    for argument, wanted in (("actor.policy_loss_type", "ppo"), ("actor.loss_agg_mode", "token-mean")):
        if recipe.get(argument) != wanted:
            raise _refuse_dipo(
                recipe, key, f"is exact with {argument} {wanted} alone, not with {recipe.get(argument)}"
            )
    train_batch = recipe.get("train.batch_size")
    if key != "keep_and_refill":
        if train_batch != samples:
            raise _refuse_dipo(
                recipe,
                key,
                "is exact only where a rollout batch is one optimizer step: set train.batch_size to "
                f"rollout.batch_size * rollout.n_samples_per_prompt = {samples}, not {train_batch}",
            )
        return
    group = recipe.get("rollout.n_samples_per_prompt")
    if train_batch <= samples or train_batch % group:
        raise _refuse_dipo(
            recipe,
            key,
            f"train.batch_size must be above {samples}, a multiple of {group}: rollout.batch_size groups with variance "
            f"and room for the groups that DiPO acts on, such as {samples + group * max(1, samples // group // 4)}",
        )
    for argument in ("rollout.vllm_generate_batch_size", "actor.entropy_coef"):
        if recipe.get(argument) not in (None, False):
            raise _refuse(recipe, argument, "does not go with dipo.keep_and_refill: leave it out")


def _check_sizes(recipe: Recipe) -> None:
    _check_window(recipe)
    samples = recipe.get("rollout.batch_size") * recipe.get("rollout.n_samples_per_prompt")
    train_batch = recipe.get("train.batch_size")
    if samples % train_batch and not recipe.dipo.keep_and_refill:
        reason = f"must divide rollout.batch_size * rollout.n_samples_per_prompt = {samples}: the rest would be lost"
        raise _refuse(recipe, "train.batch_size", reason)
    group = recipe.get("rollout.n_samples_per_prompt")
    if train_batch % group:
        reason = f"must be a multiple of rollout.n_samples_per_prompt = {group}: an optimizer step has whole groups"
        raise _refuse(recipe, "train.batch_size", reason)
    ranks = actor_gpus(recipe) // (recipe.get("ds.ring_attn_size") * recipe.get("ds.tensor_parallel_size"))
    micro = recipe.get("train.micro_batch_size")
    if recipe.get("train.dynamic_batch_enable"):
        step, rule = ranks, f"the actor ranks, {ranks}: the rest of each optimizer step would be lost"
    else:
        step, rule = micro * ranks, f"train.micro_batch_size * actor ranks = {micro} * {ranks}"
    if ranks < 1 or train_batch % step:
        raise _refuse(recipe, "train.batch_size", f"must be a multiple of {rule}")
    new_tokens = recipe.get("rollout.max_new_tokens")
    if new_tokens is not None and new_tokens >= recipe.get("data.max_len"):
        reason = f"leaves no room for a prompt within data.max_len = {recipe.get('data.max_len')}"
        raise _refuse(recipe, "rollout.max_new_tokens", reason)
    buffer = recipe.get("reward.overlong_buffer_len")
    limit = new_tokens or recipe.get("data.max_len")
    if buffer is not None and buffer > limit:
        raise _refuse(recipe, "reward.overlong_buffer_len", f"is longer than a response may be ({limit})")


def _async_problem(recipe: Recipe) -> tuple[str, str] | None:
    """(key, reason) of the first setting that cannot work asynchronously, or only so; None where there is none."""
    over = recipe.get(_OVER_SAMPLING)
    if not recipe.get("train.async_enable"):
        if recipe.get("train.partial_rollout_enable"):
            return "train.partial_rollout_enable", "needs train.async_enable: true"
        if over is not None and over > recipe.get("rollout.batch_size"):
            return _OVER_SAMPLING, "above rollout.batch_size needs train.async_enable: true"
        return _over_sampling_problem(recipe)
    if recipe.get(_CORRECTION) == "off":
        return _CORRECTION, (
            "must be token or seq with train.async_enable: perplexities come from the rollout's log-probabilities, "
            "which OpenRLHF requests with the correction alone"
        )
    if recipe.get("train.colocate_all") and recipe.get("vllm.enable_sleep"):
        reason = "must be false with train.async_enable: the engine generates while the actor trains"
        return "vllm.enable_sleep", reason
    return _over_sampling_problem(recipe)


def _over_sampling_problem(recipe: Recipe) -> tuple[str, str] | None:
    over, batch, method = recipe.get(_OVER_SAMPLING), recipe.get("rollout.batch_size"), recipe.dipo.method
    if not over:
        return None
    if over < batch:
        return (
            _OVER_SAMPLING,
            f"must be at least rollout.batch_size, {batch}: a step would have fewer prompts than that",
        )
    if over > batch and methods.get(method).dynamic_sampling:
        return (
            _OVER_SAMPLING,
            f"{method} asks for further prompts by itself (dipo.refill_cap): it would do nothing",
        )
    return None


def _check_cpu(recipe: Recipe) -> None:
    for key, allowed, reason in (
        ("vllm.sync_backend", ("gloo",), "weights travel over gloo on CPU"),
        (
            "ds.attn_implementation",
            ("sdpa", "eager", "flash_attention_2"),
            "on CPU use sdpa, eager or flash_attention_2",
        ),
        ("vllm.tensor_parallel_size", (1,), "one process an engine on CPU"),
        ("ds.ring_attn_size", (1,), "ring attention needs a GPU"),
    ):
        if recipe.get(key) not in allowed:
            raise _refuse(recipe, key, f"{reason} (run.device is cpu)")
