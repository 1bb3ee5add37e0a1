"""Killed where nothing can clean up, on a cluster of two nodes: no process keeps its GPU, and the restart gets it."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from stack import Dipo, write_recipe
from two_nodes import Cluster, poll, two_nodes

from dipo_openrlhf.record import checkpoints
from dipo_openrlhf.record.run_log import read_metrics

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow, pytest.mark.timeout(2000)]

LIMIT = 900


def titled(cluster: Cluster, words: str) -> list[psutil.Process]:
    """Live processes of the cluster with these words in their command line."""
    found = []
    for process in cluster.processes():
        try:
            if any(words in part for part in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def test_a_killed_driver_and_engine_leave_no_process_and_the_run_is_restarted(small_model, tmp_path):
    steps = 6
    recipe, run_dir = write_recipe(tmp_path, small_model, steps=steps)
    with two_nodes() as cluster:
        words = ["submit", str(recipe), "--address", cluster.address, "--run.max_restarts", "1"]
        command = Dipo(words, folder=tmp_path).start()
        assert command.process is not None
        ckpt = run_dir / "ckpt"
        poll(
            lambda: checkpoints.resumable_steps(ckpt) or command.process.poll() is not None,
            LIMIT,
            "a checkpoint",
        )
        assert command.process.poll() is None, command.process.communicate()[0]
        engines = titled(cluster, "VLLM::EngineCore")
        workers = titled(cluster, "ray::SeededEngine")
        (driver,) = titled(cluster, "dipo_openrlhf.openrlhf_patch.driver")
        assert engines, Path(run_dir / "train.log").read_text()[-2000:]
        for process in (*workers, driver):
            process.kill()
        poll(lambda: all(map(is_gone, engines)), 60, "vLLM's orphaned engine to be ended")
        status, output = command.finish(LIMIT)
        assert status == 0, output
        assert "restart 1 of 1 from step" in output
        assert " in 10 s: " in output
        assert [row["step"] for row in read_metrics(run_dir)] == list(range(1, steps + 1))
        assert not [one for one in titled(cluster, "VLLM::EngineCore") if not is_gone(one)]
