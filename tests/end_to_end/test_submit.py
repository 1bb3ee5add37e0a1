"""`dipo submit` on a real Ray cluster of two nodes: train across both, evaluate, follow, stop, leave nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from stack import WANDB_KEY, Dipo, write_recipe
from two_nodes import HEAD, WORKER, Cluster, poll, two_nodes

from dipo_eval.results.store import read_result
from dipo_openrlhf.data.arithmetic import write_prompts
from dipo_openrlhf.record import checkpoints
from dipo_openrlhf.record.processes import RUN_ID
from dipo_openrlhf.record.run_log import read_metrics

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.timeout(3000)]

ACTORS = ("DiPOPolicyActor", "SeededEngine", "DiPOTrainer")
LIMIT = 1200  # seconds for a few steps, start-up and evaluation, on two cores shared with others
EVALUATE = [
    "--evaluate.suites", "[arithmetic-control]", "--evaluate.limit", "20", "--evaluate.engine", "hf",
    "--evaluate.max_new_tokens", "48", "--watch.when", "after",
]  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with two_nodes() as running:
        yield running


class Folder:
    """A user's project folder: a recipe, prompts beside it by a relative path, a key in a file of their own."""

    def __init__(self, root: Path, model: Path, steps: int) -> None:
        self.root = root
        self.recipe, self.run_dir = write_recipe(root / "made", model, steps=steps)
        self.project = root / "project"
        self.project.mkdir()
        text = self.recipe.read_text().replace(str(root / "made" / "prompts.jsonl"), "prompts.jsonl")
        (self.project / "tiny.yaml").write_text(text)
        write_prompts(self.project / "prompts.jsonl", 8 * steps, 0)
        self.keys = root / "keys"
        self.keys.write_text(f"WANDB_API_KEY={WANDB_KEY}\nWANDB_MODE=offline\n")
        self.keys.chmod(0o600)

    def submit(self, *arguments: str) -> Dipo:
        """`dipo submit`, started in the project folder with the key in its environment as well."""
        command = [sys.executable, "-m", "dipo_openrlhf.cli", "submit", *arguments]
        started = Dipo(arguments=[], environment={})
        started.process = subprocess.Popen(
            command,
            cwd=self.project,
            env={**os.environ, "WANDB_API_KEY": WANDB_KEY, "COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        return started


def training_actors(cluster: Cluster) -> dict[str, str]:
    """Class of a live actor -> the address of its node."""
    addresses = cluster.addresses()
    return {
        row["class_name"]: addresses[row["node_id"]]
        for row in cluster.state("actors")
        if row["state"] == "ALIVE" and row["node_id"] in addresses
    }


def assert_nothing_is_left(cluster: Cluster) -> None:
    """No actor, no placement group, no process of a run; both nodes still there and idle."""

    def gone() -> bool:
        actors = [row for row in cluster.state("actors") if row["state"] != "DEAD"]
        groups = [row for row in cluster.state("placement_groups") if row["state"] != "REMOVED"]
        runs = [process for process in cluster.processes() if _is_of_a_run(process)]
        return not actors and not groups and not runs

    poll(gone, 60, "actors, placement groups and processes of the job to be gone")
    assert sorted(cluster.addresses().values()) == [HEAD, WORKER]


def _is_of_a_run(process: psutil.Process) -> bool:
    """By the run's mark, or by the title that Ray gives its workers, which may overwrite their environment."""
    try:
        title = " ".join(process.cmdline())
        return RUN_ID in process.environ() or any(f"ray::{name}" in title for name in ACTORS)
    except (psutil.Error, OSError):
        return False  # ended meanwhile


def assert_key_is_nowhere(*places: Path) -> None:
    read = 0
    for place in places:
        for path in place.rglob("*"):
            if path.is_file() and not path.is_symlink():
                assert WANDB_KEY.encode() not in path.read_bytes(), path
                read += 1
    assert read > 20


def test_trains_across_both_nodes_checkpoints_and_evaluates(cluster, small_model, tmp_path):
    folder = Folder(tmp_path, small_model, steps=4)
    command = folder.submit(
        "tiny.yaml", "--address", cluster.address, "--secrets-file", str(folder.keys), *EVALUATE
    )
    assert command.process is not None
    wanted = {"DiPOPolicyActor", "SeededEngine"}
    seen = poll(
        lambda: (
            (actors := training_actors(cluster)) and wanted <= actors.keys() and actors
        ) or command.process.poll() is not None,
        LIMIT,
        "actor and rollout engine",
    )  # fmt: skip
    assert seen is not True, command.process.communicate()[0]
    assert {seen["DiPOPolicyActor"], seen["SeededEngine"]} == {HEAD, WORKER}
    status, output = command.finish(LIMIT)
    assert status == 0, output
    # The log was followed to its end, with the output of `dipo train` on a terminal.
    for words in ("loading the model and the rollout engine", "step    4", "trained:", "SUCCEEDED"):
        assert words in output
    rows = read_metrics(folder.run_dir)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    for row in rows:  # weights went from one node to the other after every step
        assert abs(row["vllm_kl"]) < 1e-4
    ckpt = folder.run_dir / "ckpt"
    assert [whole.step for whole in checkpoints.complete_checkpoints(ckpt)] == [2, 4]
    for step in (0, 2, 4):
        result = read_result(
            folder.run_dir / "results" / "tiny" / f"global_step{step}" / "arithmetic-control"
        )
        assert result is not None, (folder.run_dir / "watch.log").read_text()
        assert result["n_items"] == 20
    # The key reached the tracker, which runs in a Ray worker, and is neither printed nor stored anywhere.
    assert list(folder.run_dir.glob("wandb/offline-run-*/*.wandb"))
    assert WANDB_KEY not in output
    assert_key_is_nowhere(cluster.temp, folder.run_dir)
    for listed in ("actors", "workers", "runtime_envs", "jobs"):
        assert WANDB_KEY not in json.dumps(cluster.state(listed)), listed
    assert_nothing_is_left(cluster)


def test_stop_leaves_nothing_behind(cluster, small_model, tmp_path):
    folder = Folder(tmp_path, small_model, steps=200)
    status, output = folder.submit("tiny.yaml", "--address", cluster.address, "--no-follow").finish(LIMIT)
    assert status == 0, output
    job = next(line.split()[-1] for line in output.splitlines() if line.startswith("submitted:"))
    following = folder.submit("--logs", job, "--address", cluster.address)
    poll(lambda: checkpoints.resumable_steps(folder.run_dir / "ckpt"), LIMIT, "a whole checkpoint")
    assert {"DiPOPolicyActor", "SeededEngine"} <= training_actors(cluster).keys()
    started = time.monotonic()
    status, output = folder.submit("--stop", job, "--address", cluster.address).finish(240)
    assert (status, output.strip().splitlines()[-1]) == (0, f"{job}: STOPPED")
    assert time.monotonic() - started < 180
    assert_nothing_is_left(cluster)
    status, log = following.finish(120)
    assert status == 130
    assert "training" in log
    assert log.strip().endswith(f"{job}: STOPPED")
    assert "interrupted; all processes have ended" in log
    assert json.loads((folder.run_dir / "ckpt" / "ENDED.json").read_text()) == {"outcome": "interrupted"}
    status, output = folder.submit("--status", job, "--address", cluster.address).finish(120)
    assert status == 0
    assert f"{job}: STOPPED" in output


def test_a_cluster_that_is_too_small_is_a_one_line_error(cluster, small_model, tmp_path):
    folder = Folder(tmp_path, small_model, steps=4)
    command = folder.submit("tiny.yaml", "--address", cluster.address, "--vllm.num_engines", "3")
    status, output = command.finish(LIMIT)
    assert status == 2
    assert "the Ray cluster has 2 GPUs, but the recipe needs 4" in output
    assert "Traceback" not in output
    assert_nothing_is_left(cluster)
