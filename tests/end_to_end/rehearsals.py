"""Rehearse a recipe on a simulated cluster, as a user would: write it, submit it, lose a rank to SIGKILL, resume it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from stack import Dipo
from two_nodes import HEAD, WORKER, Cluster, poll, two_nodes

from dipo_eval.results.store import read_result
from dipo_openrlhf.recipe.load import load_recipe
from dipo_openrlhf.recipe.placement import shares_gpus
from dipo_openrlhf.recipe.recipe import Recipe
from dipo_openrlhf.record import checkpoints
from dipo_openrlhf.record.run_log import read_metrics

LIMIT = 1800  # seconds for one start, or for the rest of a run, on two cores shared with others
RANK, ENGINES = "DiPOPolicyActor", ("CheckedEngine", "SeededEngine")


@dataclass(frozen=True)
class Rehearsed:
    """What was seen. `placed`: class of an actor -> the nodes of its live instances; seconds are wall-clock."""

    name: str
    steps: list[int]
    resumed_from: int
    checkpoints: list[int]
    evaluated: list[int]
    placed: dict[str, list[str]]
    first_step_s: float
    resumed_step_s: float
    total_s: float

    def row(self) -> dict[str, Any]:
        return vars(self)


def written(name: str, folder: Path, overrides: Sequence[str] = ()) -> Recipe:
    """`dipo rehearse --write-only`: the rehearsal's recipe, in `folder`."""
    command = [sys.executable, "-m", "dipo_openrlhf.cli", "rehearse", name, *overrides, "--write-only"]
    done = subprocess.run(
        [*command, "--folder", str(folder)],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return load_recipe(str(folder / "rehearsal.yaml"))


def submitted(folder: Path, cluster: Cluster, *options: str) -> Dipo:
    """`dipo submit` from the rehearsal's folder."""
    started = Dipo(arguments=[])
    started.process = subprocess.Popen(
        [sys.executable, "-m", "dipo_openrlhf.cli", "submit", "rehearsal.yaml", "--to", "ray",
         "--address", cluster.address, "--exclude", "run", *options],
        cwd=folder,
        env={**os.environ, "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    return started


def rehearse(name: str, folder: Path, overrides: Sequence[str] = ()) -> Rehearsed:
    """Train `name` to its end with one SIGKILL on the way; fails where any of it does not happen.

    On two nodes that have the rehearsal's GPUs and no more: Ray fills one node before it takes the next.
    """
    recipe = written(name, folder, overrides)
    with two_nodes(gpus=recipe.run.gpus_per_node) as cluster:
        found = _rehearse(cluster, recipe, folder, " ".join([name, *overrides]))
    _check(found, recipe)
    return found


def _rehearse(cluster: Cluster, recipe: Recipe, folder: Path, name: str) -> Rehearsed:
    run_dir, ckpt = recipe.run_dir, Path(recipe.get("ckpt.path"))
    started = time.monotonic()
    command = submitted(folder, cluster)
    first_step = _until(command, run_dir, lambda: read_metrics(run_dir), "the first step") - started
    placed = _placed(cluster)
    _until(command, run_dir, lambda: checkpoints.resumable_steps(ckpt), "a complete checkpoint")
    kill_a_rank(cluster)
    status, output = command.finish(LIMIT)
    assert status == 2, output
    assert "--resume" in output.strip().splitlines()[-1], output
    resumed_from = checkpoints.resumable_steps(ckpt)[-1]
    poll(lambda: not _placed(cluster), 120, "the killed run's actors to be gone")
    resumed = time.monotonic()
    command = submitted(folder, cluster, "--resume")
    seen = len(read_metrics(run_dir))
    resumed_step = (
        _until(command, run_dir, lambda: len(read_metrics(run_dir)) > seen, "a step after the kill") - resumed
    )
    status, output = command.finish(LIMIT)
    assert status == 0, output
    assert "SUCCEEDED" in output
    return Rehearsed(
        name=name,
        steps=[row["step"] for row in read_metrics(run_dir)],
        resumed_from=resumed_from,
        checkpoints=[whole.step for whole in checkpoints.complete_checkpoints(ckpt)],
        evaluated=_evaluated(recipe),
        placed=placed,
        first_step_s=round(first_step, 1),
        resumed_step_s=round(resumed_step, 1),
        total_s=round(time.monotonic() - started, 1),
    )


def _until(command: Dipo, run_dir: Path, condition: Any, what: str) -> float:
    """The time at which `condition()` was true; fails when the job ends first."""
    process = command.process
    assert process is not None
    poll(lambda: condition() or process.poll() is not None, LIMIT, f"{what} of {run_dir}")
    assert condition(), process.communicate()[0]
    return time.monotonic()


def _placed(cluster: Cluster) -> dict[str, list[str]]:
    addresses = cluster.addresses()
    found: dict[str, list[str]] = {}
    for row in cluster.state("actors"):
        if row["state"] == "ALIVE" and row["class_name"] in (RANK, *ENGINES):
            found.setdefault(row["class_name"], []).append(addresses[row["node_id"]])
    return {name: sorted(nodes) for name, nodes in found.items()}


def kill_a_rank(cluster: Cluster) -> None:
    """SIGKILL to the process of one actor rank, found by the title that Ray gives it."""
    for process in cluster.processes():
        try:
            if any(part.startswith(f"ray::{RANK}") for part in process.cmdline()):
                process.kill()
                return
        except psutil.Error:
            continue
    raise AssertionError(f"no process of {RANK}")


def _evaluated(recipe: Recipe) -> list[int]:
    """Steps whose results are stored, with every item graded."""
    found = []
    for path in sorted((recipe.run_dir / "results").glob("*/global_step*/*/results.json")):
        result = read_result(path.parent)
        if result is not None and result["n_items"] == recipe.evaluate.limit:
            found.append(int(path.parent.parent.name.removeprefix("global_step")))
    return sorted(found)


def _check(rehearsed: Rehearsed, recipe: Recipe) -> None:
    """Fails unless the run did what the recipe says: steps, ranks, engines, checkpoints, evaluations."""
    last = rehearsed.steps[-1]
    again = [step for step in rehearsed.steps if step > rehearsed.resumed_from]
    assert sorted(set(rehearsed.steps)) == list(range(1, last + 1))
    assert last >= 2
    assert again[-1] == last, "steps went on after the resume"
    (engine,) = rehearsed.placed.keys() - {RANK}
    assert len(rehearsed.placed[RANK]) == recipe.get("actor.num_nodes") * recipe.get(
        "actor.num_gpus_per_node"
    )
    assert len(rehearsed.placed[engine]) == recipe.get("vllm.num_engines")
    assert {node for nodes in rehearsed.placed.values() for node in nodes} == {HEAD, WORKER}
    if shares_gpus(recipe):
        assert rehearsed.placed[engine] == rehearsed.placed[RANK], "an engine beside each rank"
    assert rehearsed.checkpoints, "no complete checkpoint"
    if recipe.starts_watcher:
        assert {*rehearsed.checkpoints} <= {*rehearsed.evaluated}, rehearsed
