"""The Ray of a run: one of its own, or a running cluster that it joins (`run.ray: cluster`).

A joined cluster belongs to its owner: a run brings its actors and placement groups, which Ray ends with the driver, and
never stops a raylet. The CPU changes reach every node in the runtime environment.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from dipo_eval.errors import UserError, one_line
from dipo_eval.secrets.file import SECRETS_FILE, load_secrets
from dipo_openrlhf.openrlhf_patch.cpu import changes as cpu
from dipo_openrlhf.record.events import write_event
from dipo_openrlhf.record.processes import RUN_ID

STARTS = 3
RAYLET_SECONDS = 90
WORKER_HOOK = "dipo_openrlhf.openrlhf_patch.ray_start.install"
NODES_TIMEOUT = 120.0  # seconds: nodes that are still joining
POLL_SECONDS = 1.0
# Set by openrlhf/cli/train_ppo_ray.py, train where it starts Ray itself, and only there.
_OPENRLHF_ENV = {
    "TOKENIZERS_PARALLELISM": "true",
    "NCCL_DEBUG": "WARN",
    "RAY_ENABLE_ZERO_COPY_TORCH_TENSORS": "1",
}
_PASSED_ON = (RUN_ID, SECRETS_FILE)


def install() -> None:
    """In every Ray worker of a joined cluster: the keys of the secrets file, and the changes of a CPU run."""
    load_secrets()
    cpu.install()


def start_ray(**settings: Any) -> Any:
    """`ray.init(address="local", ...)`, tried up to STARTS times; what it returns.

    Ray gives its own processes 30 seconds to start (ray/_private/node.py, Node.__init__), which a busy machine can miss,
    and raises a plain Exception then. Any other is raised at once.
    """
    os.environ.setdefault("RAY_raylet_start_wait_time_s", str(RAYLET_SECONDS))
    import ray

    for attempt in range(1, STARTS + 1):
        try:
            return ray.init(address="local", include_dashboard=False, **settings)
        except Exception as error:
            if "timed out during startup" not in str(error) or attempt == STARTS:
                raise
            print(f"Ray did not start in time (attempt {attempt} of {STARTS})", flush=True)
            ray.shutdown()
    raise AssertionError("unreachable")


def start_simulated(gpus: int, environment: dict[str, str]) -> None:
    """A Ray of our own with simulated GPUs for a CPU run; OpenRLHF keeps a Ray that is already initialised."""
    # Settings of the caller's shell: one would join its cluster, the other contradicts the simulated GPUs.
    for name in ("RAY_ADDRESS", "CUDA_VISIBLE_DEVICES"):
        os.environ.pop(name, None)
    start_ray(
        num_gpus=gpus,
        num_cpus=2 * gpus + 4,
        object_store_memory=512 * 1024**2,
        log_to_driver=True,
        runtime_env={"worker_process_setup_hook": cpu.WORKER_HOOK, "env_vars": environment},
    )


def worker_environment(environment: dict[str, str]) -> dict[str, str]:
    """Environment of the run's workers on every node of a joined cluster: names and settings, no key.

    Without what the submitted job has set already: Ray refuses two values of one variable.
    """
    values = {name: os.environ.get(name, default) for name, default in _OPENRLHF_ENV.items()}
    values |= environment
    values |= {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
    given = (job.get("runtime_env") or {}).get("env_vars") or {}
    return {name: value for name, value in values.items() if name not in given}


def join_cluster(gpus: int, environment: dict[str, str], run_dir: Path) -> None:
    """Connect to the cluster of RAY_ADDRESS, else of this machine, and wait until it has `gpus` GPUs.

    Raises UserError: no cluster answers, or it has too few GPUs.
    """
    import ray

    address = os.environ.get("RAY_ADDRESS") or "auto"
    runtime_env = {"worker_process_setup_hook": WORKER_HOOK, "env_vars": worker_environment(environment)}
    try:
        ray.init(address=address, runtime_env=runtime_env, log_to_driver=True)
    except ConnectionError as error:
        raise UserError(
            f"run.ray: 'cluster': no Ray cluster answers at {address!r} ({one_line(error)}): start one, or set "
            "RAY_ADDRESS to its address"
        ) from None
    # Ray's own handler ends the driver at once; the end of a job is to be an interruption.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    wait_for_gpus(ray, gpus, run_dir)


def wait_for_gpus(ray: Any, gpus: int, run_dir: Path) -> None:
    """Wait until the cluster has `gpus` GPUs. Raises UserError after NODES_TIMEOUT."""
    deadline = time.monotonic() + NODES_TIMEOUT
    logged = False
    while (found := int(ray.cluster_resources().get("GPU", 0))) < gpus:
        if not logged:
            write_event(run_dir, f"waiting for {gpus} GPUs, of which the Ray cluster has {found}")
            logged = True
        if time.monotonic() > deadline:
            raise UserError(
                f"the Ray cluster has {found} GPUs, but the recipe needs {gpus} (actor ranks, vLLM engines and reference "
                f"model): add nodes, or lower actor.num_gpus_per_node or vllm.num_engines (waited {NODES_TIMEOUT:.0f} s)"
            )
        time.sleep(POLL_SECONDS)
    free = int(ray.available_resources().get("GPU", 0))
    if free < gpus:
        write_event(run_dir, f"waiting for {gpus} free GPUs: others use all but {free} of {found}")
