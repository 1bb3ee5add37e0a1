"""The model, the prompts and the recipes of a check."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from dipo_openrlhf.data.base import Prompt, json_lines
from dipo_openrlhf.gpu_check.reward import LABELS
from dipo_openrlhf.gpu_check.settings import CONTROL_LR, CONTROL_STEPS, STEPS, CheckSettings
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.recipe import Recipe
from dipo_openrlhf.recipe.yaml_lines import Setting
from dipo_openrlhf.record.user_cache import cache_dir

RECIPE = Path(__file__).with_name("check.yaml")


# Packed samples need it; on CPU torch's attention stands in (openrlhf_patch/cpu/attention.py).
ON_CPU = {"ds.attn_implementation": "flash_attention_2"}
_CONTROL = {"actor.adam.lr": CONTROL_LR}


def prepare(settings: CheckSettings) -> None:
    """Find or make the model, write the prompts. Raises UserError."""
    if settings.model:
        model = Path(settings.model).resolve()
    else:
        from dipo_openrlhf.quickstart.smollm2 import smollm2_model

        model = smollm2_model(cache_dir())
    settings.model_link().write_text(f"{model}\n", encoding="utf-8")
    settings.prompts_file().write_text("".join(sums(settings)), encoding="utf-8")


def sums(settings: CheckSettings) -> list[str]:
    """Sums of two digits, every one another; what they are labelled is what their groups are to be (reward.py)."""
    pairs = [(a, b) for a in range(1, 10) for b in range(1, 10)]
    random.Random(settings.seed).shuffle(pairs)
    count = STEPS * settings.prompts
    pairs = (pairs * -(-count // len(pairs)))[:count]
    prompts = [
        Prompt(f"sum-{n}", f"What is {a} + {b}?", LABELS[n % len(LABELS)], ())
        for n, (a, b) in enumerate(pairs)
    ]
    return json_lines(prompts, "sums")


def check_recipes(settings: CheckSettings) -> None:
    """Raise UserError for an override that a run of the check would refuse. Before `prepare`: any model stands in."""
    for run_dir, more in ((settings.run_dir, {}), (settings.control_dir, _CONTROL)):
        _recipe(settings, run_dir, STEPS, more, model="any/model")


def main_recipe(settings: CheckSettings) -> Recipe:
    """The run that is killed and resumed."""
    return _recipe(settings, settings.run_dir, STEPS, {}, str(settings.start_model()))


def control_recipe(settings: CheckSettings) -> Recipe:
    """The run whose weights stay at the actor: a high learning rate, so that it must show."""
    return _recipe(settings, settings.control_dir, CONTROL_STEPS, _CONTROL, str(settings.start_model()))


def _recipe(settings: CheckSettings, run_dir: Path, steps: int, more: dict[str, Any], model: str) -> Recipe:
    ranks = settings.gpus
    values = {
        "run.dir": str(run_dir),
        "run.device": "cpu" if settings.cpu else "gpu",
        "run.gpus_per_node": ranks,
        "run.step_timeout": max(30, settings.limit),
        "actor.model_name_or_path": model,
        "actor.num_gpus_per_node": ranks,
        "vllm.num_engines": ranks,
        "data.prompt_dataset": str(settings.prompts_file()),
        "data.max_samples": steps * settings.prompts,
        "reward.remote_url": str(RECIPE.with_name("reward.py")),
        "rollout.batch_size": settings.prompts,
        "rollout.n_samples_per_prompt": settings.samples,
        "rollout.max_new_tokens": settings.tokens,
        "train.batch_size": settings.train_batch,
        "train.seed": settings.seed,
        **(ON_CPU if settings.cpu else {}),
    }
    given = {key: Setting(value, "dipo check-gpu") for key, value in values.items()}
    given |= {key: Setting(value, f"--{key}") for key, value in settings.overrides.items()}
    given |= {key: Setting(value, "dipo check-gpu") for key, value in more.items()}
    return load_recipe(str(RECIPE), given)
