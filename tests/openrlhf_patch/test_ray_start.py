"""Joining a cluster: its workers' environment, and the error where it has too few GPUs. Real ones: end_to_end/."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal

import pytest
from packaging.requirements import Requirement

from dipo_eval.errors import UserError
from dipo_eval.secrets.file import SECRETS_FILE
from dipo_openrlhf.openrlhf_patch import driver, ray_start
from dipo_openrlhf.record.events import read_events
from dipo_openrlhf.record.processes import RUN_ID

KEY = "feedface" * 5  # not a real key


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in (SECRETS_FILE, RUN_ID, "RAY_JOB_CONFIG_JSON_ENV_VAR", "NCCL_DEBUG", "TOKENIZERS_PARALLELISM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("RAY_ENABLE_ZERO_COPY_TORCH_TENSORS", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", KEY)


def test_workers_get_settings_and_no_key(monkeypatch):
    monkeypatch.setenv(RUN_ID, "abc")
    monkeypatch.setenv("NCCL_DEBUG", "INFO")
    assert ray_start.worker_environment({"DIPO_CPU": "1"}) == {
        "TOKENIZERS_PARALLELISM": "true",
        "NCCL_DEBUG": "INFO",
        "RAY_ENABLE_ZERO_COPY_TORCH_TENSORS": "1",
        "DIPO_CPU": "1",
        RUN_ID: "abc",
    }


def test_variables_of_the_job_are_not_set_twice(monkeypatch):
    """Ray refuses to merge two values of one variable (ray/runtime_env/runtime_env.py, _merge_runtime_env)."""
    job = {"runtime_env": {"env_vars": {SECRETS_FILE: "/keys", "OMP_NUM_THREADS": "4"}}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(job))
    monkeypatch.setenv(SECRETS_FILE, "/keys")
    given = ray_start.worker_environment({"OMP_NUM_THREADS": "2", "DIPO_CPU": "1"})
    assert not {SECRETS_FILE, "OMP_NUM_THREADS"} & given.keys()
    assert given["DIPO_CPU"] == "1"


def test_a_worker_reads_the_keys_file(tmp_path, monkeypatch):
    path = tmp_path / "keys"
    path.write_text(f"HF_TOKEN={KEY}\n")
    path.chmod(0o600)
    monkeypatch.setenv(SECRETS_FILE, str(path))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("DIPO_CPU", raising=False)
    ray_start.install()
    assert os.environ.pop("HF_TOKEN") == KEY


class Ray:
    """What wait_for_gpus calls of Ray."""

    def __init__(self, totals: list[int], free: int) -> None:
        self.totals, self.free = totals, free

    def cluster_resources(self) -> dict[str, float]:
        return {"GPU": float(self.totals.pop(0) if len(self.totals) > 1 else self.totals[0]), "CPU": 8.0}

    def available_resources(self) -> dict[str, float]:
        return {"GPU": float(self.free)} if self.free else {}


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(ray_start, "POLL_SECONDS", 0.0)


def stages(folder) -> list[str]:
    return [event["stage"] for event in read_events(folder)]


def test_nodes_that_join_late_are_waited_for(quick, tmp_path):
    ray_start.wait_for_gpus(Ray([0, 8, 16], 16), 16, tmp_path)
    assert stages(tmp_path) == ["waiting for 16 GPUs, of which the Ray cluster has 0"]


def test_a_cluster_with_too_few_gpus_is_refused(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_start, "NODES_TIMEOUT", 0.02)
    with pytest.raises(UserError, match="the Ray cluster has 2 GPUs, but the recipe needs 4"):
        ray_start.wait_for_gpus(Ray([2], 2), 4, tmp_path)


def test_gpus_in_use_by_others_are_logged(quick, tmp_path):
    ray_start.wait_for_gpus(Ray([8], 0), 4, tmp_path)
    assert stages(tmp_path) == ["waiting for 4 free GPUs: others use all but 0 of 8"]


def test_a_second_signal_does_not_interrupt_the_clean_up():
    kept = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        driver.ignore_further_signals()
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), kept, strict=True):
            signal.signal(number, handler)


def test_the_job_servers_packages_are_installed():
    """Of `ray[default]`: without one of them a head starts, and its job server does not."""
    wanted = [Requirement(line) for line in importlib.metadata.requires("ray") or []]
    for requirement in wanted:
        if requirement.marker is None or requirement.marker.evaluate({"extra": "default"}):
            found = importlib.metadata.version(requirement.name)
            assert requirement.specifier.contains(found, prereleases=True), requirement
