"""The runs of faults.py: one command of `dipo train`, and what must be equal at its end."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import torch
from common import DIPO, write_recipe
from fault_places import MARK, Place

from dipo_eval.files.processes import start_session
from dipo_openrlhf.record.checkpoints import resumable_steps, tag_of
from dipo_openrlhf.record.processes import processes_of
from dipo_openrlhf.record.run_log import METRICS

STEPS = 10


def fault_recipe(
    folder: Path, place: Place, asynchronous: bool, *, disk: Path | None = None, watched: bool = False
) -> Path:
    """A run of STEPS steps, the same for every folder."""
    sections: dict[str, dict[str, Any]] = {
        "run": {"ray": "cluster" if place.spaces else "auto", "start_timeout": 300, "step_timeout": 90},
        "rollout": {"batch_size": 8, "n_samples_per_prompt": 8, "max_new_tokens": 48, "micro_batch_size": 32},
        "train": {"batch_size": 32, "micro_batch_size": 32, "async_enable": asynchronous},
        "ckpt": {"save_steps": 1, "max_num": 2, "path": str((disk or folder / "run") / "ckpt")},
        "dipo": {"min_side_samples": 10},
    }
    if watched:
        suites = ["arithmetic-control"]
        sections["evaluate"] = {"suites": suites, "limit": 8, "engine": "hf", "max_new_tokens": 48}
        sections["watch"] = {"every": 5}
    return write_recipe(folder, 8 * STEPS, **sections)


class FaultRun:
    """One command `dipo train`; it continues where something is saved, as a user would after an error."""

    def __init__(self, recipe: Path, place: Place, *options: str, restarts: int = 0) -> None:
        self.place, self.restarts_left = place, restarts
        self.run_dir = recipe.parent / "run"
        self.mark = uuid.uuid4().hex
        self.faults = 0
        self._sessions: set[int] = set()
        self._restarts_seen = 0
        self._written = self._metrics_size()
        self.log = recipe.parent / f"output-{self.mark[:6]}.txt"
        resume = ["--resume"] if resumable_steps(checkpoints_of(self.run_dir)) else []
        train = [*DIPO, "train", str(recipe), *resume, "--run.max_restarts", str(restarts), *options]
        environment = {**place.environment, MARK: self.mark, "OMP_NUM_THREADS": "1", "COLUMNS": "250"}
        self.process = start_session([*place.prefix, *train], self.log, environment)

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def is_running(self) -> bool:
        return self.process.poll() is None

    def processes(self) -> list[psutil.Process]:
        """All processes of this run, on both nodes where there are two."""
        found = {
            *processes_of(self.mark, MARK),
            *processes_of(self.place.environment.get(MARK, "none"), MARK),
        }
        with contextlib.suppress(psutil.Error):  # a title may have been written over a worker's environment
            found.update(psutil.Process(self.process.pid).children(recursive=True))
        return sorted(found, key=lambda process: process.pid)

    def left_over_after(self, seconds: float) -> list[psutil.Process]:
        """Processes of the ended command that still run after so many seconds."""
        deadline = time.monotonic() + seconds
        while (left := self._left_over()) and time.monotonic() < deadline:
            time.sleep(0.5)
        return left

    def _note_sessions(self) -> None:
        """Some processes write their title over the mark: they are found by the session of those that do not."""
        for process in processes_of(self.mark, MARK):
            with contextlib.suppress(OSError):
                self._sessions.add(os.getsid(process.pid))

    def _left_over(self) -> list[psutil.Process]:
        found = processes_of(self.mark, MARK)
        for session in self._sessions:
            found += processes_of(self.mark, MARK, session=session)
        return list(set(found))

    def _metrics_size(self) -> int:
        path = self.run_dir / METRICS
        return path.stat().st_size if path.exists() else 0

    def await_moment(self, rng: random.Random, early: bool) -> None:
        """A random moment: while everything is starting, or from the next new step on."""
        deadline = time.monotonic() + 300
        while self.is_running() and time.monotonic() < deadline:
            if early or self._metrics_size() > self._written:
                break
            time.sleep(0.1)
        moment = time.monotonic() + rng.uniform(0, 15 if early else 4)
        while self.is_running() and time.monotonic() < moment:
            time.sleep(0.05)
        self._written = self._metrics_size()
        self._note_sessions()

    def await_reaction(self, deadline: float) -> tuple[str, str]:
        """("restart" | "error" | "completed" | "nothing", the line that states it)."""
        while time.monotonic() < deadline:
            ended = not self.is_running()
            lines = self.output().splitlines()
            restarts = [line for line in lines if line.startswith("restart ")]
            if len(restarts) > self._restarts_seen:
                self._restarts_seen = len(restarts)
                self._written = self._metrics_size()
                return "restart", restarts[-1]
            if ended and self.process.returncode == 0:
                return "completed", ""
            if ended:
                return "error", next((line for line in lines if line.startswith("error: ")), "")
            time.sleep(0.2)
        return "nothing", ""

    def finish(self, limit: float) -> tuple[int, str]:
        """(exit status, output); kills everything and raises TimeoutExpired when `limit` seconds pass."""
        try:
            status = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            for process in processes_of(self.mark, MARK):
                process.kill()
            raise
        return status, self.output()


def checkpoints_of(run_dir: Path) -> Path:
    """The folder of its checkpoints, on the small disk where there is one."""
    disk = run_dir.parent / "disk" / "ckpt"
    return disk if disk.exists() else run_dir / "ckpt"


def compare(undisturbed: Path, run_dir: Path, asynchronous: bool) -> str | None:
    """What differs from the undisturbed run, or None.

    Which weights an asynchronous run samples with depends on timing: there the prompts are compared, and not the samples.
    """
    one, other = _rollouts(undisturbed), _rollouts(run_dir)
    if sorted(other) != list(range(1, STEPS + 1)):
        return f"steps {sorted(other)}"
    keys = ("prompt",) if asynchronous else ("prompt", "correct", "rewards", "fired")
    for step in one:
        for group, twin in zip(one[step], other[step], strict=True):
            if any(group[key] != twin[key] for key in keys):
                return f"step {step}: group {group['group']} is {twin}, was {group}"
    queues = [_queue(folder) for folder in (undisturbed, run_dir)]
    if len(queues[0]) != len(queues[1]):
        return f"the queues differ in length: {queues}"
    if not asynchronous and not torch.allclose(*queues, atol=1e-3):
        return f"the queues differ: {queues}"
    return None


def _rollouts(run_dir: Path) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, dict[int, dict[str, Any]]] = {}
    for line in (run_dir / "rollouts.jsonl").read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):  # a line that a kill cut short
            row = json.loads(line)
            found.setdefault(row["step"], {})[row["group"]] = row
    return {step: [groups[index] for index in sorted(groups)] for step, groups in found.items()}


def _queue(run_dir: Path) -> torch.Tensor:
    """All values of the perplexity queue in the last checkpoint, in order."""
    folder = checkpoints_of(run_dir) / "_actor" / tag_of(STEPS)
    (state,) = folder.glob("*model_states.pt")
    queue = torch.load(state, weights_only=False)["dipo"]["queue"]
    return torch.cat([value.reshape(-1).double() for value in _tensors(queue)])


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            yield from _tensors(value[key])
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)
