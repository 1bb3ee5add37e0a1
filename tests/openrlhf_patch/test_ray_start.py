"""Joining a cluster: its workers' environment, and the error where it has too few GPUs. Real ones: end_to_end/."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile

import pytest
from packaging.requirements import Requirement
from ray._private import services

from dipo_eval.errors import UserError
from dipo_eval.secrets.file import SECRETS_FILE
from dipo_openrlhf.openrlhf_patch import driver, ray_start
from dipo_openrlhf.record.events import read_events
from dipo_openrlhf.record.processes import RUN_ID

KEY = "feedface" * 5  # not a real key


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in (
        SECRETS_FILE,
        RUN_ID,
        "RAY_JOB_CONFIG_JSON_ENV_VAR",
        "NCCL_DEBUG",
        "TOKENIZERS_PARALLELISM",
        "TORCH_EXTENSIONS_DIR",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("RAY_ENABLE_ZERO_COPY_TORCH_TENSORS", raising=False)
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
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


def test_workers_compile_where_the_run_does_and_find_ninja(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", "/shared/run/torch_extensions")
    assert ray_start.worker_environment({})["TORCH_EXTENSIONS_DIR"] == "/shared/run/torch_extensions"
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    ray_start.install()
    assert os.environ["PATH"].split(":") == [sysconfig.get_path("scripts"), "/usr/bin", "/bin"]
    ray_start.install()
    assert len(os.environ["PATH"].split(":")) == 3


def test_a_running_cluster_is_joined_and_its_nodes_are_not_this_machine(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert not ray_start.joins_cluster()
    (tmp_path / "ray").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as gcs:
        (tmp_path / "ray/ray_current_cluster").write_text(f"127.0.0.1:{gcs.getsockname()[1]}")
        assert ray_start.joins_cluster()
        monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "elsewhere"))
        assert not ray_start.joins_cluster()
        monkeypatch.delenv("RAY_TMPDIR")
    assert not ray_start.joins_cluster(), "the file of a cluster that was killed"
    (tmp_path / "ray/ray_current_cluster").write_text("no address")
    assert not ray_start.joins_cluster()
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert ray_start.joins_cluster()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file away")
def test_another_users_cluster_is_not_joined(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "ray").mkdir()
    path = tmp_path / "ray/ray_current_cluster"
    with socket.create_server(("127.0.0.1", 0)) as gcs:
        path.write_text(f"127.0.0.1:{gcs.getsockname()[1]}")
        assert ray_start.joins_cluster()
        os.chown(path, 65534, 65534)
        assert not ray_start.joins_cluster()


# As the driver of a GPU run starts Ray; the workers of this one have no GPU.
ON_GPUS = """
import os
from dipo_openrlhf.openrlhf_patch import ray_start
os.environ["PATH"] = "/usr/bin:/bin"
ray_start.start_on_gpus({"VLLM_USE_FLASHINFER_SAMPLER": "0"})
import ray
@ray.remote
def look():
    import openrlhf.models.ring_attn_utils
    return os.environ["PATH"].split(":")[0], os.environ["VLLM_USE_FLASHINFER_SAMPLER"], os.environ["NCCL_DEBUG"]
print("found", *ray.get(look.remote(), timeout=200))
ray.shutdown()
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_worker_of_a_gpu_run_has_the_programs_and_imports_without_flash_attn():
    # Ray's sockets lie in there, and a socket's path has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="dipo-ray-", dir="/tmp", ignore_cleanup_errors=True) as temp:
        done = subprocess.run(
            [sys.executable, "-c", ON_GPUS],
            env={**os.environ, "DIPO_CPU": "0", "RAY_TMPDIR": temp},
            capture_output=True,
            text=True,
            timeout=380,
            check=False,
        )
    assert f"found {sysconfig.get_path('scripts')} 0 WARN" in done.stdout, done.stderr[-3000:]


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


@pytest.mark.parametrize("started_by", ["dipo train", "hand"])
def test_sigterm_is_left_to_dipo_train(monkeypatch, started_by):
    """Ray sends the SIGTERM of a stopped job to the driver too, and the step is to be saved first."""
    monkeypatch.delenv("DIPO_RUN_ID", raising=False)
    if started_by == "dipo train":
        monkeypatch.setenv("DIPO_RUN_ID", "x")
    kept = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        ray_start.set_signals()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        if started_by == "hand":
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
        else:
            signal.raise_signal(signal.SIGTERM)
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN, "children would inherit it"
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), kept, strict=True):
            signal.signal(number, handler)


SPAWNS = """
import multiprocessing, signal, sys
def is_blocked(queue=None):
    found = signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return found if queue is None else queue.put(found)
if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    if sys.argv[1] == "kept":
        from dipo_openrlhf.openrlhf_patch.ray_start import keep_sigterm_blocked
        keep_sigterm_blocked()
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=is_blocked, args=(queue,))
    child.start()
    print(is_blocked(), queue.get(timeout=60))
    child.join()
"""


@pytest.mark.parametrize(("mode", "printed"), [("kept", "True True"), ("control", "False False")])
def test_a_worker_that_starts_an_engine_keeps_sigterm_blocked(tmp_path, mode, printed):
    """A preempted Slurm job's engine would end by the signal that only announces the preemption."""
    (tmp_path / "spawns.py").write_text(SPAWNS)
    words = [sys.executable, str(tmp_path / "spawns.py"), mode]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == printed, done.stderr


def test_the_job_servers_packages_are_installed():
    """Of `ray[default]`: without one of them a head starts, and its job server does not."""
    wanted = [Requirement(line) for line in importlib.metadata.requires("ray") or []]
    for requirement in wanted:
        if requirement.marker is None or requirement.marker.evaluate({"extra": "default"}):
            found = importlib.metadata.version(requirement.name)
            assert requirement.specifier.contains(found, prereleases=True), requirement


SHADOWED = """
import os, sys, threading, time
import psutil
if "abort" in sys.argv:
    def abort():
        while True:
            for child in psutil.Process().children():
                if child.name() == "raylet":
                    child.kill()
                    return
            time.sleep(0.02)
    threading.Thread(target=abort, daemon=True).start()
from dipo_openrlhf.openrlhf_patch import ray_start
started = time.monotonic()
ray_start.start_simulated(1, {})
print("seconds", round(time.monotonic() - started))
import ray
@ray.remote(num_cpus=0)
def look():
    import datasets, random, my_helper
    return datasets.__version__, random.random(), my_helper.HERE
print("found", *ray.get(look.remote(), timeout=200))
ray.shutdown()
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_modules_of_the_start_folder_take_no_installed_ones_place_and_a_dead_raylet_is_noticed(tmp_path):
    """Its raylet is killed as soon as it is there, as if it had given up: the next start follows within seconds."""
    (tmp_path / "datasets").mkdir()
    for name in ("datasets/__init__.py", "random.py", "torch.py"):
        (tmp_path / name).write_text("raise RuntimeError('not the installed one')\n")
    (tmp_path / "my_helper.py").write_text("HERE = True\n")
    with tempfile.TemporaryDirectory(prefix="dipo-ray-", dir="/tmp", ignore_cleanup_errors=True) as temp:
        done = subprocess.run(
            [sys.executable, "-P", "-c", SHADOWED, "abort"],
            cwd=tmp_path,
            env={**os.environ, "RAY_TMPDIR": temp},
            capture_output=True,
            text=True,
            timeout=380,
            check=False,
        )
    assert f"found {importlib.metadata.version('datasets')}" in done.stdout, done.stderr[-3000:]
    assert "its raylet has ended" in done.stdout
    (seconds,) = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("seconds")]
    assert int(seconds) < ray_start.RAYLET_SECONDS


@pytest.mark.parametrize(
    ("settings", "is_absent"),
    [({}, True), ({"include_dashboard": None}, False)],
    ids=["none", "as_ray_likes"],
)
def test_without_a_dashboard_no_api_server_starts(monkeypatch, settings, is_absent):
    own, started = services.start_api_server, []
    monkeypatch.setattr("ray.init", lambda **given: started.append(services.start_api_server))
    ray_start.start_ray(**settings)
    assert services.start_api_server is own
    (used,) = started
    assert (used is not own) == is_absent
    if is_absent:
        assert used(False, False) == ("", None)
