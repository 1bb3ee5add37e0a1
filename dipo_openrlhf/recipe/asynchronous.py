"""Asynchronous runs: what `train.async_enable` implies, and what does not go with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dipo_openrlhf.algorithm import methods

if TYPE_CHECKING:
    from dipo_openrlhf.recipe.schema import Recipe

CORRECTION = "algo.advantage.is_correction_level"
_ASYNC = "train.async_enable"
_OVER_SAMPLING = "rollout.vllm_generate_batch_size"


def async_defaults(openrlhf: dict[str, Any]) -> dict[str, Any]:
    """Samples of an older policy need OpenRLHF's correction, and its engine's log-probabilities come with it alone."""
    return {CORRECTION: "token"} if openrlhf.get(_ASYNC) else {}


def async_problem(recipe: Recipe) -> tuple[str, str] | None:
    """(key, reason) of the first setting that cannot work asynchronously, or only so; None where there is none."""
    if not recipe.get(_ASYNC):
        return _synchronous_problem(recipe)
    if recipe.get(CORRECTION) == "off":
        return CORRECTION, (
            "must be token or seq with train.async_enable: perplexities come from the rollout's log-probabilities, "
            "which OpenRLHF asks for with the correction alone"
        )
    if recipe.get("train.async_queue_size") < 1:
        return "train.async_queue_size", "must be at least 1: it is how many batches may wait to be trained"
    if recipe.get("train.colocate_all") and recipe.get("vllm.enable_sleep"):
        return (
            "vllm.enable_sleep",
            "must be false with train.async_enable: the engine generates while the actor trains",
        )
    return _over_sampling_problem(recipe)


def _synchronous_problem(recipe: Recipe) -> tuple[str, str] | None:
    if recipe.get("train.partial_rollout_enable"):
        return "train.partial_rollout_enable", "needs train.async_enable: true"
    over = recipe.get(_OVER_SAMPLING)
    if over is not None and over > recipe.get("rollout.batch_size"):
        return _OVER_SAMPLING, "above rollout.batch_size needs train.async_enable: true"
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
