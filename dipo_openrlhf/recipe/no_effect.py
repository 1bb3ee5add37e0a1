"""Settings that would do nothing, refused: who writes one means something by it (checks.py).

Those of a recipe that is extended, or that a variant or the command line switches off, may be idle.
"""

from __future__ import annotations

from collections.abc import Callable

from dipo_openrlhf.recipe.openrlhf_args import openrlhf_actions
from dipo_openrlhf.recipe.recipe import Recipe

_CORRECTION = "algo.advantage.is_correction_level"
# Key, or section that ends in a dot; the key on which its effect depends; when it does nothing; why, and a remedy.
_RULES: tuple[tuple[str, str, Callable[[Recipe], bool], str], ...] = (
    (
        "actor.eps_clip",
        "",
        lambda recipe: True,
        "does nothing: the method clips with actor.eps_clip_low_high; set that, as [0.1, 0.1]",
    ),
    (
        "data.input_template",
        "data.apply_chat_template",
        lambda recipe: bool(recipe.get("data.apply_chat_template")),
        "does nothing with the chat template: put it into the prompts, or set data.apply_chat_template: false",
    ),
    (
        "train.micro_batch_size",
        "train.dynamic_batch_enable",
        lambda recipe: bool(recipe.get("train.dynamic_batch_enable")),
        "does nothing with train.dynamic_batch_enable: set train.max_tokens_per_gpu",
    ),
    (
        "train.max_tokens_per_gpu",
        "train.dynamic_batch_enable",
        lambda recipe: not recipe.get("train.dynamic_batch_enable"),
        "does nothing without train.dynamic_batch_enable: set train.micro_batch_size, or enable it",
    ),
    (
        "reward.overlong_penalty_factor",
        "reward.overlong_buffer_len",
        lambda recipe: recipe.get("reward.overlong_buffer_len") is None,
        "does nothing without reward.overlong_buffer_len",
    ),
    (
        "train.ema_beta",
        "train.enable_ema",
        lambda recipe: not recipe.get("train.enable_ema"),
        "does nothing without train.enable_ema",
    ),
    (
        "train.async_queue_size",
        "train.async_enable",
        lambda recipe: not recipe.get("train.async_enable"),
        "does nothing without train.async_enable",
    ),
    (
        "reward.remote_url",
        "train.agent_func_path",
        lambda recipe: bool(recipe.get("train.agent_func_path")),
        "does nothing beside train.agent_func_path, whose episodes have rewards of their own: take one of them out",
    ),
    (
        "actor.muon.",
        "actor.optim",
        lambda recipe: recipe.get("actor.optim") != "muon",
        "does nothing without actor.optim: muon",
    ),
    (
        "actor.min_lr_ratio",
        "actor.lr_scheduler",
        lambda recipe: "min_lr" not in recipe.get("actor.lr_scheduler"),
        "does nothing with this actor.lr_scheduler: use cosine_with_min_lr",
    ),
    ("critic.", "", lambda recipe: True, "does nothing: the methods here normalise by group, and train no critic"),
)  # fmt: skip


def setting_without_effect(recipe: Recipe) -> tuple[str, str] | None:
    """(key, reason) of the first setting that the recipe changes from OpenRLHF's default for nothing."""
    for start, cause, is_idle, why in _RULES:
        for key, value in recipe.openrlhf.items():
            met = key == start or (start.endswith(".") and key.startswith(start))
            own = _is_own(recipe, key, cause)
            if (
                met
                and own
                and value is not False
                and value != openrlhf_actions()[key].default
                and is_idle(recipe)
            ):
                return key, why
    return None


def _is_own(recipe: Recipe, key: str, cause: str) -> bool:
    """Whether the one who wrote the key could see that it is idle: it is not below what makes it so."""
    places = [recipe.where.get(one, "") for one in (key, cause)]
    on_command_line = [place.startswith("--") for place in places]
    return on_command_line[0] or (places[0].startswith(f"{recipe.source}:") and not on_command_line[1])
