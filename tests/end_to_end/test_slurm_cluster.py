"""`dipo submit --to slurm` on a real Slurm of two nodes: trains on both; time limit, preemption, a lost node."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from slurm_cluster import GRACE, Slurm, missing, slurm_cluster
from stack import rollouts, write_recipe
from two_nodes import poll

from dipo_openrlhf.record import checkpoints
from dipo_openrlhf.record.run_log import read_metrics

pytestmark = [
    pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.timeout(3000),
    pytest.mark.skipif(bool(missing()), reason=f"no Slurm can be started here: {missing()}"),
]  # fmt: skip

STARTS = 600  # seconds for Ray, model and engine, on two cores shared with others
BATCH = 8
NETWORK = {"GLOO_SOCKET_IFNAME": "dipo0", "VLLM_HOST_IP": "127.0.0.1"}


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with slurm_cluster() as running:
        yield running


def submit(slurm: Slurm, recipe: Path, *overrides: str) -> str:
    """Number of the job that a user's command has made."""
    ours = [
        name for name in ("PYTHONPATH",) if name in os.environ
    ]  # the tree that is tested, where it is not installed
    names = [word for name in (*NETWORK, *ours) for word in ("--env", name)]
    said = slurm.run(
        sys.executable, "-m", "dipo_openrlhf.cli", "submit", str(recipe), "--to", "slurm", "--time", "60",
        "--gpus-per-node", "1", *names, *overrides, cwd=recipe.parent, environment={**os.environ, **NETWORK},
    )  # fmt: skip
    assert said.startswith("Submitted batch job "), said
    return said.split()[-1]


def titles(slurm: Slurm, node: str) -> list[str]:
    """Command lines of a node's processes, but for Slurm's own."""
    found = []
    for process in slurm.processes(node):
        try:
            title = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if title and not any(name in title for name in ("slurm", "munged")):
            found.append(title)
    return found


def role_nodes(slurm: Slurm, role: str) -> list[str]:
    """Where Ray workers of a class run."""
    return [node for node in slurm.nodes if any(f"ray::{role}" in title for title in titles(slurm, node))]


def step_of(run_dir: Path) -> int:
    rows = read_metrics(run_dir) if (run_dir / "metrics.jsonl").exists() else []
    return int(rows[-1]["step"]) if rows else 0


def is_requeued(slurm: Slurm, job: str, times: int) -> bool:
    """Whether the job is back in the queue, so many times by now. It may start soon: Slurm would wait two minutes.

    Not in the second in which it was requeued: what Slurm hands its nodes would count as of before, and be refused.
    """
    facts = slurm.job(job)
    assert facts["JobState"] not in ("COMPLETED", "FAILED", "TIMEOUT", "NODE_FAIL"), facts
    if facts["JobState"] != "PENDING" or int(facts["Restarts"]) != times:
        return False
    slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now+10seconds", "TimeLimit=60")
    return True


def test_a_job_survives_its_time_limit_and_a_lost_node(slurm, small_model, tmp_path):
    steps = 60
    recipe, run_dir = write_recipe(tmp_path, small_model, steps=steps)
    job = submit(slurm, recipe)
    log = run_dir / f"slurm-{job}.log"
    poll(lambda: checkpoints.resumable_steps(run_dir / "ckpt"), STARTS, f"a whole checkpoint, see {log}")
    places = [role_nodes(slurm, role) for role in ("DiPOPolicyActor", "SeededEngine")]
    assert sorted(places) == [["n1"], ["n2"]]

    # Less than the script's seven minutes are left: Slurm itself sends it the signal.
    slurm.run("scontrol", "update", f"JobId={job}", "TimeLimit=7")
    poll(lambda: is_requeued(slurm, job, 1), 300, "the job to be requeued before its time limit")
    stopped = step_of(run_dir)
    assert stopped < steps
    assert checkpoints.resumable_steps(run_dir / "ckpt")[-1] == stopped
    poll(lambda: step_of(run_dir) > stopped + 4, STARTS, "the requeued job to go on")

    # Slurm gives a silent node five minutes; Ray's patience ends before.
    slurm.lose("n2")
    poll(lambda: "the Ray cluster has lost a node" in log.read_text(), 200, "the lost node to be noticed")
    lost = step_of(run_dir)
    assert lost < steps
    slurm.bring_back("n2")
    poll(lambda: is_requeued(slurm, job, 2), 300, "the job to be requeued after a node was lost")
    poll(lambda: step_of(run_dir) > lost, STARTS, "the job to go on once the node is back")
    poll(lambda: slurm.job(job)["JobState"] == "COMPLETED", STARTS, "the job to be completed")

    text = log.read_text()
    assert text.count(f"dipo train {recipe.name} --resume") + text.count(f"dipo train {recipe} --resume") == 2
    assert "420 s away, or the job is preempted: saving, then stopping to be requeued" in text
    assert "error: the Ray cluster has lost 10.78.0.2" in text
    assert "Traceback" not in text
    assert [row["step"] for row in read_metrics(run_dir)] == list(range(1, steps + 1))
    prompts = Counter(group["prompt"] for step in rollouts(run_dir).values() for group in step)
    assert (len(prompts), set(prompts.values())) == (BATCH * steps, {1})
    for node in slurm.nodes:
        poll(lambda node=node: not titles(slurm, node), 60, f"{node} to be empty")


def test_a_preempted_job_loses_no_step(slurm, small_model, tmp_path):
    """The urgent job needs both nodes, and Slurm's first SIGTERM goes to Ray's processes, not to the script."""
    steps = 16
    recipe, run_dir = write_recipe(tmp_path, small_model, steps=steps)
    job = submit(slurm, recipe, "--ckpt.save_steps", "100")
    log = run_dir / f"slurm-{job}.log"
    poll(lambda: step_of(run_dir) >= 2, STARTS, f"two steps, see {log}")
    assert not checkpoints.resumable_steps(run_dir / "ckpt")
    urgent = slurm.run(
        "sbatch", "--parsable", "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap",
        "sleep 5",
    ).strip()  # fmt: skip
    poll(
        lambda: is_requeued(slurm, job, 1), GRACE, f"the job to be requeued within its grace time, see {log}"
    )
    saved = step_of(run_dir)
    assert 2 <= saved < steps
    assert checkpoints.resumable_steps(run_dir / "ckpt") == [saved]
    poll(lambda: slurm.job(urgent)["JobState"] == "COMPLETED", 120, "the urgent job to have run")
    poll(lambda: slurm.job(job)["JobState"] == "COMPLETED", STARTS, f"the job to be completed, see {log}")

    text = log.read_text()
    assert "the job is preempted: saving, then stopping to be requeued" in text
    assert "asked to stop (SIGTERM): at most 300 s to end this step and save it" in text
    assert f"step {saved} is saved" in text
    assert "Traceback" not in text
    assert [row["step"] for row in read_metrics(run_dir)] == list(range(1, steps + 1))
    every = [json.loads(line) for line in (run_dir / "rollouts.jsonl").read_text().splitlines()]
    assert len(every) == BATCH * steps, "no step was made twice"
    assert len({group["prompt"] for group in every}) == BATCH * steps
    for node in slurm.nodes:
        poll(lambda node=node: not titles(slurm, node), 60, f"{node} to be empty")


def test_scancel_ends_everything(slurm, small_model, tmp_path):
    recipe, run_dir = write_recipe(tmp_path, small_model, steps=200)
    job = submit(slurm, recipe)
    poll(lambda: checkpoints.resumable_steps(run_dir / "ckpt"), STARTS, "a whole checkpoint")
    slurm.run("scancel", job)
    poll(lambda: slurm.job(job)["JobState"] == "CANCELLED", 120, "the job to be cancelled")
    for node in slurm.nodes:
        poll(lambda node=node: not titles(slurm, node), 60, f"{node} to be empty")
    assert json.loads((run_dir / "ckpt" / "ENDED.json").read_text()) == {"outcome": "interrupted"}
    assert "interrupted" in (run_dir / f"slurm-{job}.log").read_text()
