"""The watcher beside a training: started with it, waited for at its end, ended in every case.

On a CPU machine, or where the recipe says so, a process of lower priority than the training; in a GPU run a Ray task
with GPUs of its own (watcher_on_ray.py). The training waits for it only with `watch.wait`.
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
from dipo_eval.files.processes import start_session
from dipo_eval.results.store import safe_name
from dipo_eval.subject.marker import EVALUATED, complete_checkpoints
from dipo_openrlhf.openrlhf_patch.trackers import wants_wandb
from dipo_openrlhf.recipe.recipe import Recipe
from dipo_openrlhf.record.processes import RUN_ID, end_processes

LOG = "watch.log"  # in the run's folder
_ENDED_WELL = (0, 1)  # 1: a checkpoint was given up, and the log states why
_EVALUATE = {"engine", "samples", "limit", "temperature", "max_new_tokens", "seed"}
_WATCH = {"every", "order", "attempts"}


def watch_values(recipe: Recipe) -> dict[str, Any]:
    """`dipo watch`'s options for a recipe, under their Python names; `ckpt_path` is what it watches."""
    evaluate, section = recipe.evaluate, recipe.watch
    values: dict[str, Any] = {
        "ckpt_path": recipe.get("ckpt.path"),
        "suites": ",".join(evaluate.suites),
        "results": str(recipe.run_dir.resolve() / "results"),
        "run": safe_name(recipe.name),
        **evaluate.model_dump(include=_EVALUATE),
        "data_dir": evaluate.data_dir or None,
        **section.model_dump(include=_WATCH),
        "best": section.best or None,
        "deadline": float(section.deadline),
        "tensorboard": recipe.get("logger.tensorboard_dir"),
    }
    model = Path(recipe.get("actor.model_name_or_path"))
    if model.is_dir():
        values["start_model"] = str(model)
    if wants_wandb(recipe.run.wandb) and (project := recipe.get("logger.wandb.project")):
        values["wandb"] = project
        values["wandb_group"] = recipe.get("logger.wandb.group") or safe_name(recipe.name)
        values["wandb_entity"] = recipe.get("logger.wandb.org")
    return {key: value for key, value in values.items() if value is not None}


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
    watcher = Watcher(recipe, run_dir)
    try:
        if recipe.watch.when == "during":
            watcher.start(as_ray_task=recipe.watcher_on_ray)
        yield watcher.finish
    finally:
        watcher.end()


class Watcher:
    """One `dipo watch` process and its log."""

    def __init__(self, recipe: Recipe, run_dir: Path) -> None:
        self.recipe, self.run_dir = recipe, run_dir
        self.run_id = uuid.uuid4().hex
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, as_ray_task: bool) -> None:
        """Start it; Ctrl-C reaches `dipo train` alone, which ends it."""
        Path(self.recipe.get("ckpt.path")).mkdir(parents=True, exist_ok=True)
        command = watch_command(self.recipe)
        if as_ray_task:
            needs = self.recipe.watch.model_dump(include={"num_gpus", "num_cpus"})
            task = {"command": command, "run_dir": str(self.run_dir), **needs}
            path = self.run_dir / "watch.json"
            write_atomic(path, (json.dumps(task, indent=2) + "\n").encode(), private=True)
            command = [sys.executable, "-m", "dipo_openrlhf.run.watcher_on_ray", str(path)]
        else:
            command += ["--nice", str(self.recipe.watch.nice)]
        try:
            folder = os.getcwd()
        except FileNotFoundError:
            # Ray may unpack a job's folder again while the job runs in it; torch's MKL then ends a process that starts in
            # the deleted one ("Cannot load libtorch_cpu.so").
            folder = str(self.run_dir)
        self.process = start_session(command, self.run_dir / LOG, {RUN_ID: self.run_id}, folder)

    def finish(self) -> None:
        """Wait until everything is evaluated, at most `watch.finish_timeout` seconds.

        A watcher that does not run (killed, lost with the training's Ray, or to start only now) is started first.
        """
        log, limit = self.run_dir / LOG, self.recipe.watch.finish_timeout
        deadline = time.monotonic() + limit
        if self.process is None or (self.process.poll() is not None and not self._is_complete()):
            # A Ray of the training's own has ended with it; a cluster that was joined still has the GPUs.
            self.start(as_ray_task=self.recipe.watcher_on_ray and self.recipe.run.ray == "cluster")
        assert self.process is not None
        if self.process.poll() is None:
            _print(
                f"training has ended; waiting for the evaluation of what is left (at most {limit} s, log: {log})"
            )
        while self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        go_on = f"continue with: dipo watch {self.recipe.source} --once"
        if self.process.poll() is None:
            _print(f"evaluation is not done after {limit} s and was ended; {go_on}", "yellow")
        elif self.process.returncode != 0:
            _print(f"evaluation is not complete, see {log}; {go_on}", "yellow")

    def _is_complete(self) -> bool:
        """Whether it ended by itself and left nothing; False also with `watch.every`: it is then started once more."""
        assert self.process is not None
        found = complete_checkpoints(Path(self.recipe.get("ckpt.path")))
        evaluated = all((checkpoint.hf_path / EVALUATED).exists() for checkpoint in found)
        return self.process.returncode in _ENDED_WELL and evaluated

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


def _print(line: str, style: str | None = None) -> None:
    Console().print(line, style=style, highlight=False, soft_wrap=True)
