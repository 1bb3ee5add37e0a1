"""The watcher beside a training: started with it, waited for at its end, ended in every case.

On a CPU machine, or where the recipe says so, a process that gives way to the training; in a GPU run a Ray task
with GPUs of its own (watcher_on_ray.py). The training never waits for it, unless `watch.wait` says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from dipo_eval.files.atomic import write_atomic
from dipo_eval.results.store import safe_name
from dipo_eval.watch.marker import EVALUATED, whole_checkpoints
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.recipe import Recipe
from dipo_openrlhf.record.processes import RUN_ID, end_processes

LOG = "watch.log"  # in the run's folder
_ENDED_WELL = (0, 1)  # 1: a checkpoint was given up, and the log says why


def waits_for_evaluation(recipe: Recipe) -> bool:
    """Whether the training is to wait for its watcher after a save."""
    return recipe.starts_watcher and recipe.watch.when == "during" and recipe.watch.wait


def watch_values(recipe: Recipe) -> dict[str, Any]:
    """`dipo watch`'s options for a recipe, under their Python names; `ckpt_path` is what it watches."""
    evaluate, section = recipe.evaluate, recipe.watch
    values: dict[str, Any] = {
        "ckpt_path": recipe.get("ckpt.path"),
        "suites": ",".join(evaluate.suites),
        "results": str(recipe.run_dir.resolve() / "results"),
        "run": safe_name(recipe.name),
        "engine": evaluate.engine,
        "samples": evaluate.samples,
        "limit": evaluate.limit,
        "temperature": evaluate.temperature,
        "max_new_tokens": evaluate.max_new_tokens,
        "seed": evaluate.seed,
        "data_dir": evaluate.data_dir or None,
        "every": section.every,
        "order": section.order,
        "best": section.best or None,
        "attempts": section.attempts,
        "deadline": float(section.deadline),
        "tensorboard": recipe.get("logger.tensorboard_dir"),
    }
    model = Path(recipe.get("actor.model_name_or_path"))
    if model.is_dir():
        values["start_model"] = str(model)
    if _wants_wandb(recipe):
        values["wandb"] = recipe.get("logger.wandb.project")
        values["wandb_group"] = recipe.get("logger.wandb.group") or safe_name(recipe.name)
        values["wandb_entity"] = recipe.get("logger.wandb.org")
    return {key: value for key, value in values.items() if value is not None}


def _wants_wandb(recipe: Recipe) -> bool:
    from dipo_openrlhf.openrlhf_patch.trackers import wants_wandb

    return wants_wandb(recipe.run.wandb) and bool(recipe.get("logger.wandb.project"))


def watch_values_of(path: str) -> dict[str, Any]:
    """The same for a recipe's file: what `dipo watch RECIPE` reads. Raises UserError."""
    return watch_values(load_recipe(path))


def watch_command(recipe: Recipe) -> list[str]:
    """The command that evaluates a recipe's checkpoints until its training has ended."""
    values = watch_values(recipe)
    command = [sys.executable, "-m", "dipo_openrlhf.cli", "watch", values.pop("ckpt_path")]
    for key, value in values.items():
        command += [f"--{key.replace('_', '-')}", str(value)]
    return [*command, "--until-done", "--with-parent"]


@contextlib.contextmanager
def watcher_beside(recipe: Recipe, run_dir: Path) -> Iterator[Callable[[], None]]:
    """Start the recipe's watcher, yield what waits for it at the end, and end it when the block is left."""
    if not recipe.starts_watcher:
        yield lambda: None
        return
    watcher = _Watcher(recipe, run_dir)
    try:
        if recipe.watch.when == "during":
            watcher.start(as_ray_task=recipe.watcher_on_ray)
        yield watcher.finish
    finally:
        watcher.end()


def _standing_folder(run_dir: Path) -> Path | None:
    """Where a child can run: here (None), or the run's folder where this one is gone.

    Ray may unpack a job's folder a second time while the job runs in it. torch's MKL then ends the process: "Cannot load
    libtorch_cpu.so".
    """
    try:
        os.getcwd()
    except FileNotFoundError:
        return run_dir
    return None


class _Watcher:
    """One `dipo watch` process and its log."""

    def __init__(self, recipe: Recipe, run_dir: Path) -> None:
        self.recipe, self.run_dir = recipe, run_dir
        self.run_id = uuid.uuid4().hex
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, as_ray_task: bool) -> None:
        """Start it, in a session of its own: Ctrl-C reaches `dipo train` alone, which ends it."""
        Path(self.recipe.get("ckpt.path")).mkdir(parents=True, exist_ok=True)
        command = watch_command(self.recipe)
        if as_ray_task:
            task = {
                "command": command,
                "run_dir": str(self.run_dir),
                "num_gpus": self.recipe.watch.num_gpus,
                "num_cpus": self.recipe.watch.num_cpus,
            }
            path = self.run_dir / "watch.json"
            write_atomic(path, (json.dumps(task, indent=2) + "\n").encode(), private=True)
            command = [sys.executable, "-m", "dipo_openrlhf.run.watcher_on_ray", str(path)]
        else:
            command += ["--nice", str(self.recipe.watch.nice)]
        with open(self.run_dir / LOG, "ab") as log:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, RUN_ID: self.run_id, "PYTHONUNBUFFERED": "1"},
                cwd=_standing_folder(self.run_dir),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def finish(self) -> None:
        """Wait until everything is evaluated, at most `watch.finish_timeout` seconds.

        A watcher that is not there (killed, lost with the training's Ray, or to start only now) is started first.
        """
        console = Console()
        log, limit = self.run_dir / LOG, self.recipe.watch.finish_timeout
        deadline = time.monotonic() + limit
        if self.process is None or (self.process.poll() is not None and not self._is_complete()):
            # A Ray of the training's own has ended with it; a cluster that was joined still has the GPUs.
            self.start(as_ray_task=self.recipe.watcher_on_ray and self.recipe.run.ray == "cluster")
        assert self.process is not None
        if self.process.poll() is None:
            console.print(
                f"training has ended; waiting for the evaluation of what is left (at most {limit} s, log: {log})",
                highlight=False,
                soft_wrap=True,
            )
        while self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        if self.process.poll() is None:
            console.print(
                f"evaluation is not done after {limit} s and was ended; {self._go_on()}",
                style="yellow",
                soft_wrap=True,
            )
        elif self.process.returncode != 0:
            console.print(
                f"evaluation is not complete, see {log}; {self._go_on()}", style="yellow", soft_wrap=True
            )

    def _is_complete(self) -> bool:
        """Whether it ended of itself and left nothing; with `watch.every` that takes another look."""
        assert self.process is not None
        found = whole_checkpoints(Path(self.recipe.get("ckpt.path")))
        evaluated = all((checkpoint.hf_path / EVALUATED).exists() for checkpoint in found)
        return self.process.returncode in _ENDED_WELL and evaluated

    def _go_on(self) -> str:
        return f"continue with: dipo watch {self.recipe.source} --once"

    def end(self) -> None:
        """End it with all that it started: the lease is released on SIGTERM."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(15)
        end_processes(self.run_id, session=self.process.pid)
        self.process.wait(15)
