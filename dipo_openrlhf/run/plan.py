"""What a run starts from: the driver's plan, and recipe.yaml beside it."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
from pathlib import Path
from typing import Any

import yaml

from dipo_eval.engines.device import NO_FLASHINFER_SAMPLER
from dipo_eval.errors import UserError
from dipo_eval.files.atomic import write_atomic
from dipo_eval.workers.cores import usable_cores
from dipo_openrlhf.openrlhf_patch import ray_start
from dipo_openrlhf.openrlhf_patch.cpu import changes as cpu
from dipo_openrlhf.openrlhf_patch.driver import PROGRAM, LaunchPlan
from dipo_openrlhf.openrlhf_patch.settings import TrainerSettings
from dipo_openrlhf.openrlhf_patch.trackers import wants_wandb
from dipo_openrlhf.recipe.placement import gpus_to_start, shares_gpus
from dipo_openrlhf.recipe.recipe import Recipe
from dipo_openrlhf.recipe.yaml_lines import COUNT
from dipo_openrlhf.record import checkpoints
from dipo_openrlhf.record.provenance import content_of, installed_versions, prompts_hash
from dipo_openrlhf.rewards.call_form import CALL_FORM

RECIPE = "recipe.yaml"  # in the run's folder: all settings as they were used
_READ_BY_ALL = (
    "actor.model_name_or_path", "data.prompt_dataset", "reward.remote_url", "train.agent_func_path",
)  # fmt: skip
UNBOUNDED = 10**9  # checkpoints: OpenRLHF's own rotation is disabled (record/checkpoints.py rotates)


def plan_run(recipe: Recipe, resume: bool = False) -> LaunchPlan:
    """Everything the driver needs to know."""
    on_this_cpu = recipe.on_cpu
    openrlhf = {**recipe.openrlhf, "ckpt.max_num": UNBOUNDED}
    if resume:
        openrlhf["ckpt.load_enable"] = True
    # OpenRLHF's own TensorBoard logger stays off: trackers.py logs in its place.
    tensorboard_dir = openrlhf.pop("logger.tensorboard_dir", None)
    settings = TrainerSettings(
        run_dir=str(recipe.run_dir.resolve()),
        recipe_hash=recipe.hash,
        keep_checkpoints=recipe.get("ckpt.max_num"),
        keep_exports=recipe.run.keep_exports,
        wait_for_evaluation=recipe.watch.wait_timeout if recipe.waits_for_evaluation else 0,
        evaluate_every=recipe.watch.every if recipe.starts_watcher else 0,
        evaluated_meanwhile=recipe.starts_watcher and recipe.watch.when == "during",
        ckpt_path=recipe.get("ckpt.path"),
        save_rollouts=recipe.run.save_rollouts,
        dump_experiences=recipe.run.dump_experiences,
        max_undecided_rate=recipe.run.max_undecided_rate,
        skip_idle=recipe.run.skip_idle_samples,
        log_vllm_kl=recipe.run.log_vllm_kl,
        seeded_rollouts=on_this_cpu
        if recipe.run.seeded_rollouts == "auto"
        else recipe.run.seeded_rollouts == "on",
        shares_gpus=shares_gpus(recipe),
        wandb=wants_wandb(recipe.run.wandb),
        tensorboard_dir=str(Path(tensorboard_dir).expanduser().resolve()) if tensorboard_dir else "",
        versions=installed_versions(),
        data_sha256=prompts_hash(recipe.get("data.prompt_dataset")),
    )
    return LaunchPlan(
        argv=dataclasses.replace(recipe, openrlhf=openrlhf).argv(),
        dipo=dataclasses.asdict(recipe.dipo),
        settings=dataclasses.asdict(settings),
        cpu=on_this_cpu,
        gpus=gpus_to_start(recipe),
        engine=recipe.engine_batch,
        environment=_environment(recipe),
        files=_local_files(recipe),
        cluster=joins_cluster(recipe),
    )


def _environment(recipe: Recipe) -> dict[str, str]:
    """Of every worker of the run."""
    form = {CALL_FORM: recipe.run.call_form}
    if recipe.on_cpu:
        return form | cpu.environment(recipe.run.cpu_threads or usable_cores())
    return form | {name: os.environ.get(name, value) for name, value in NO_FLASHINFER_SAMPLER.items()}


def joins_cluster(recipe: Recipe) -> bool:
    """Whether the run is on a Ray cluster that is there already. OpenRLHF joins one by itself."""
    return recipe.run.ray == "cluster" or (not recipe.on_cpu and ray_start.joins_cluster())


def check_ray(recipe: Recipe) -> None:
    """Raise UserError where the run needs several nodes and is to start a Ray of its own.

    On CPU such a Ray simulates the GPUs of all of them.
    """
    nodes = max(recipe.get("actor.num_nodes"), recipe.run.nodes)
    if nodes > 1 and not recipe.on_cpu and not joins_cluster(recipe):
        place = recipe.where.get("actor.num_nodes", recipe.source)
        raise UserError(
            f"{place}: {nodes} nodes need a Ray cluster: start one, put run.dir on storage that every node sees, and add "
            "--run.ray cluster; or send the recipe there with `dipo submit`"
        )


def _local_files(recipe: Recipe) -> dict[str, str]:
    values = {key: recipe.get(key) for key in _READ_BY_ALL}
    return {key: value for key, value in values.items() if isinstance(value, str) and os.path.exists(value)}


def command_text(plan: LaunchPlan) -> str:
    """The exact OpenRLHF command and its environment, an argument a line; as comments, since alone it has no method."""
    lines = ["what runs in one process, with dipo_openrlhf's DiPOTrainer in place of PPOTrainer:"]
    lines += [f"{key}={shlex.quote(value)} \\" for key, value in sorted(plan.environment.items())]
    lines.append(f"python -m {PROGRAM} \\")
    arguments: list[list[str]] = []
    for token in plan.argv:
        if token.startswith("--"):
            arguments.append([token])
        else:
            arguments[-1].append(token)
    lines += [f"    {shlex.join(argument)} \\" for argument in arguments]
    return "\n".join(f"# {line}" for line in lines).removesuffix(" \\")


def tracker_lines(recipe: Recipe) -> list[str]:
    """Where the metrics go beside the run's folder."""
    wandb, why = wants_wandb(recipe.run.wandb), recipe.where.get("run.wandb", "default")
    if recipe.run.wandb == "auto":
        why = f"{why}: WANDB_API_KEY or WANDB_MODE {'asks for it' if wandb else 'does not ask for it'}"
    folder = recipe.get("logger.tensorboard_dir")
    return [
        f"tracker wandb: {'on' if wandb else 'off'}  {why}",
        f"tracker tensorboard: {folder or 'off'}  {recipe.where.get('logger.tensorboard_dir', 'default')}",
    ]


def write_recipe(recipe: Recipe, plan: LaunchPlan, run_dir: Path) -> None:
    """Write recipe.yaml, for its owner alone."""
    settings = settings_of(recipe)
    resolved = {
        "name": recipe.name,
        "source": recipe.source,
        "hash": recipe.hash,
        "versions": plan.settings["versions"],
        "data_sha256": plan.settings["data_sha256"],
        "content": content_of(recipe.openrlhf),
        COUNT: len(settings),
        "settings": settings,
    }
    write_atomic(run_dir / RECIPE, yaml.safe_dump(resolved, sort_keys=False).encode(), private=True)


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """Every setting that a resumed run is compared by, as recipe.yaml holds it."""
    dipo = {f"dipo.{key}": value for key, value in dataclasses.asdict(recipe.dipo).items()}
    return json.loads(json.dumps({**recipe.openrlhf, **dipo}, default=str))


def resume_hint(recipe: Recipe) -> str:
    """Where a failed or interrupted run can continue, or nothing."""
    steps = checkpoints.resumable_steps(Path(recipe.get("ckpt.path")))
    return f"; step {steps[-1]} is saved: continue with --resume" if steps else ""


def interrupted_message(recipe: Recipe) -> str:
    """The line shown after Ctrl-C."""
    return f"interrupted; all processes have ended{resume_hint(recipe)}"
