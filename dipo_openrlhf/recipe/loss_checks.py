"""What cannot work with a loss other than PPO's (checks.py refuses it).

Source: openrlhf/models/loss.py, PolicyLoss. With gspo it takes the mean of each response whatever `actor.loss_agg_mode`
says, and with a correction of importance weights it measures its ratio from the engine's log-probabilities, without
mode, gating and threshold, and without logging what they drop.
"""

from __future__ import annotations

from dipo_openrlhf.algorithm import methods
from dipo_openrlhf.recipe.defaults import LOSS_TYPE
from dipo_openrlhf.recipe.recipe import Recipe

_CORRECTION, _MEAN = "algo.advantage.is_correction_level", "actor.loss_agg_mode"
_DUAL = "actor.dual_clip"


def loss_problem(recipe: Recipe) -> tuple[str, str] | None:
    """(key, reason) of the first setting that cannot work; None where there is none."""
    if recipe.get(LOSS_TYPE) == "cispo" and recipe.get(_DUAL) is not None:
        return _DUAL, f"does nothing with {LOSS_TYPE}: cispo, whose upper bound is actor.eps_clip_low_high"
    return _gspo_problem(recipe) if recipe.get(LOSS_TYPE) == "gspo" else None


def _gspo_problem(recipe: Recipe) -> tuple[str, str] | None:
    method = methods.get(recipe.dipo.method)
    if recipe.get("train.async_enable"):
        return (
            LOSS_TYPE,
            "does not go with train.async_enable, whose correction of importance weights it ignores: use ppo or cispo",
        )
    if recipe.get(_CORRECTION) != "off":
        return _CORRECTION, f"must be off with {LOSS_TYPE}: gspo, which has no threshold, mask or clip of it"
    if recipe.get(_MEAN) != "seq-mean-token-mean":
        return (
            _MEAN,
            f"must be seq-mean-token-mean with {LOSS_TYPE}: gspo, which takes the mean of each response",
        )
    if method.needs_entropy:
        return LOSS_TYPE, (
            f"has one ratio a response, and would average the advantages that {method.name} gives its tokens: use ppo "
            "or cispo"
        )
    return None
