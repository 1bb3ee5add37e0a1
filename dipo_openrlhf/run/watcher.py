"""The watchers of a training: one beside it, more at its end, waited for then, ended in every case.

On a CPU machine, or where the recipe says so, a process of lower priority than the training; in a GPU run a Ray task
with GPUs of its own (watcher_on_ray.py). The training waits for it only with `watch.wait`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from dipo_eval.errors import one_line
from dipo_eval.files.atomic import write_atomic
from dipo_eval.files.processes import start_session
from dipo_eval.results.store import safe_name
from dipo_eval.subject.marker import EVALUATED, Marked, complete_checkpoints, read_json, saves_to_evaluate
from dipo_openrlhf.openrlhf_patch.trackers import wants_wandb
from dipo_openrlhf.recipe.placement import placement
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
        "start_model": recipe.get("actor.model_name_or_path"),
    }
    if wants_wandb(recipe.run.wandb) and (project := recipe.get("logger.wandb.project")):
        values["wandb"] = project
        values["wandb_group"] = recipe.get("logger.wandb.group") or safe_name(recipe.name)
        values["wandb_entity"] = recipe.get("logger.wandb.org")
    return {key: value for key, value in values.items() if value is not None}


def watch_command(recipe: Recipe) -> list[str]:
    """The command that evaluates a recipe's checkpoints until its training has ended."""
    values = watch_values(recipe)
    command = [sys.executable, "-P", "-m", "dipo_openrlhf.cli", "watch", values.pop("ckpt_path")]
    for key, value in values.items():
        command += [f"--{key.replace('_', '-')}", str(value)]
    return [*command, "--until-done", "--with-parent"]


def by_hand(recipe: Recipe) -> list[str]:
    """The command for a terminal that evaluates what is left, with all of the run's settings and overrides.

    From any folder; what was given up is tried as often again.
    """
    values = watch_values(recipe)
    for key in ("data_dir", "tensorboard"):
        if key in values:
            values[key] = Path(values[key]).expanduser().resolve()
    values["attempts"] += _most_attempts(Path(values["results"], values["run"]))
    program = ["dipo"] if shutil.which("dipo") else [sys.executable, "-P", "-m", "dipo_openrlhf.cli"]
    command = [*program, "watch", values.pop("ckpt_path")]
    for key, value in values.items():
        command += [f"--{key.replace('_', '-')}", str(value)]
    return [*command, "--once"]


def _most_attempts(results: Path) -> int:
    """At one checkpoint, by earlier watchers."""
    stored = [read_json(path) or {} for path in results.glob("*/watch.json")]
    return max((found for each in stored if isinstance(found := each.get("attempts"), int)), default=0)


@contextlib.contextmanager
def watcher_beside(recipe: Recipe, run_dir: Path) -> Iterator[Callable[[], str]]:
    """Start the recipe's watcher, yield what waits for it at the end, and end it when the block is left.

    What is yielded returns what is not evaluated and the command that evaluates it; an empty text where all is.
    """
    if not recipe.starts_watcher:
        yield lambda: ""
        return
    watcher = Watcher(recipe, run_dir)
    try:
        if recipe.watch.when == "during":
            watcher.start(as_ray_task=recipe.watcher_on_ray)
        yield watcher.finish
    finally:
        watcher.end()


class Watcher:
    """`dipo watch` processes, each with a log of its own: one beside the training; at its end as many as there are GPUs
    to evaluate what is left, each another checkpoint.
    """

    def __init__(self, recipe: Recipe, run_dir: Path) -> None:
        self.recipe, self.run_dir = recipe, run_dir
        self.ckpt_path = Path(recipe.get("ckpt.path"))
        self.run_id = uuid.uuid4().hex
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *, as_ray_task: bool, environment: dict[str, str] | None = None) -> None:
        """Start one; Ctrl-C reaches `dipo train` alone, which ends it. `environment`: of a process of this machine."""
        self.ckpt_path.mkdir(parents=True, exist_ok=True)
        log = self._next_log()
        command = watch_command(self.recipe)
        if as_ray_task:
            needs = self.recipe.watch.model_dump(include={"num_gpus", "num_cpus"})
            task = {"command": command, "run_dir": str(self.run_dir), "log": str(log), **needs}
            path = log.with_suffix(".json")
            write_atomic(path, (json.dumps(task, indent=2) + "\n").encode(), private=True)
            command = [sys.executable, "-P", "-m", "dipo_openrlhf.run.watcher_on_ray", str(path)]
        else:
            command += ["--nice", str(self.recipe.watch.nice)]
        try:
            folder = os.getcwd()
        except FileNotFoundError:
            # Ray may unpack a job's folder again while the job runs in it; torch's MKL then ends a process that starts in
            # the deleted one ("Cannot load libtorch_cpu.so").
            folder = str(self.run_dir)
        process = start_session(command, log, {RUN_ID: self.run_id, **(environment or {})}, folder)
        self.processes.append(process)

    def _next_log(self) -> Path:
        """watch.log, watch.2.log, ...: of each that runs one."""
        number = len(self._running()) + 1
        return self.run_dir / (LOG if number == 1 else LOG.replace(".", f".{number}."))

    def _running(self) -> list[subprocess.Popen[bytes]]:
        return [process for process in self.processes if process.poll() is None]

    def finish(self) -> str:
        """Wait until everything is evaluated, at most `watch.finish_timeout` seconds. Returns what is not, and the
        command that goes on; an empty text where all is.
        """
        try:
            problem = self._evaluate_the_rest()
        except OSError as error:  # a full disk, no room for a further process
            problem = f"evaluation cannot start ({one_line(error)})"
        return f"{problem}; continue with: {shlex.join(by_hand(self.recipe))}" if problem else ""

    def _evaluate_the_rest(self) -> str:
        """What is not evaluated in the end.

        Watchers are started for what is left where none runs (killed, lost with the training's Ray, or to start only
        now), and on further GPUs, which are free now.
        """
        limit = self.recipe.watch.finish_timeout
        deadline = time.monotonic() + limit
        waited_for = self._start_for_the_rest()
        if waited_for:
            _print(
                f"training has ended; waiting for the evaluation of what is left (at most {limit} s, log: "
                f"{self.run_dir / LOG})"
            )
        while self._running() and time.monotonic() < deadline:
            time.sleep(0.2)
        last = waited_for or self.processes[-1:]
        if self._running():
            return f"evaluation is not done after {limit} s and was ended"
        if self._left() or self._given_up() or any(process.returncode != 0 for process in last):
            return f"evaluation is not complete, see {self.run_dir / LOG}"
        return ""

    def _start_for_the_rest(self) -> list[subprocess.Popen[bytes]]:
        """All that evaluate it. A Ray of the training's own has ended with it; a joined cluster still has the GPUs."""
        as_ray_task = self.recipe.watcher_on_ray and self.recipe.run.ray == "cluster"
        running, left = self._running(), self._left()
        if not running and not left and self.processes and self.processes[-1].returncode in _ENDED_WELL:
            return []
        gpus = [] if self.recipe.on_cpu or as_ray_task else visible_gpus()
        places = len(gpus)
        if as_ray_task and self.recipe.watch.num_gpus:
            places = int(placement(self.recipe).training // self.recipe.watch.num_gpus)
        before = len(self.processes)
        for place in range(len(running), max(1, min(places, left))):
            environment = {"CUDA_VISIBLE_DEVICES": gpus[place]} if len(gpus) > 1 else None
            self.start(as_ray_task=as_ray_task, environment=environment)
        return running + self.processes[before:]

    def _saves(self) -> list[Marked]:
        """Checkpoints that the recipe wants evaluated."""
        found = complete_checkpoints(self.ckpt_path)
        return saves_to_evaluate(found, every=self.recipe.watch.every, last_too=True)

    def _left(self) -> int:
        """How many are still to be evaluated."""
        return sum(not (save.hf_path / EVALUATED).exists() for save in self._saves())

    def _given_up(self) -> int:
        """How many have no result after the last attempt."""
        markers = [read_json(save.hf_path / EVALUATED) or {} for save in self._saves()]
        return sum(marker.get("outcome") == "given up" for marker in markers)

    def end(self) -> None:
        """End all with what they started: the leases are released on SIGTERM."""
        for process in self._running():
            process.terminate()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
        for process in self.processes:
            end_processes(self.run_id, session=process.pid)
            process.wait(15)


def visible_gpus() -> list[str]:
    """The GPUs of this machine that its user has not hidden, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    return [str(number) for number in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]


def _print(line: str) -> None:
    Console().print(line, highlight=False, soft_wrap=True)
