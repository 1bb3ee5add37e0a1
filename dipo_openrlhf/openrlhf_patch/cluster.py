"""Join a Ray cluster that is already running, for a run whose recipe says `run.ray: cluster`.

The cluster belongs to its owner: a run brings its actors and placement groups, which Ray ends with the driver, and
never stops a raylet. What a CPU run changes travels to every node in the runtime environment.
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

WORKER_HOOK = "dipo_openrlhf.openrlhf_patch.cluster.install"
NODES_TIMEOUT = 120.0  # seconds: nodes that are still joining
_POLL = 1.0
# OpenRLHF's own (cli/train_ppo_ray.py:21), which it sets only where it starts Ray itself.
_OPENRLHF_ENV = {
    "TOKENIZERS_PARALLELISM": "true",
    "NCCL_DEBUG": "WARN",
    "RAY_ENABLE_ZERO_COPY_TORCH_TENSORS": "1",
}
_PASSED_ON = (RUN_ID, SECRETS_FILE)


def install() -> None:
    """In every Ray worker of the run: the keys of the secrets file, and the changes of a CPU run."""
    load_secrets()
    cpu.install()


def job_environment() -> dict[str, str]:
    """Variables that the submitted job has set already; Ray refuses to be given them twice."""
    config = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
    return dict((config.get("runtime_env") or {}).get("env_vars") or {})


def worker_environment(environment: dict[str, str]) -> dict[str, str]:
    """Environment of the run's workers on every node: names and settings, no key."""
    values = {name: os.environ.get(name, default) for name, default in _OPENRLHF_ENV.items()}
    values |= environment
    values |= {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    given = job_environment()
    return {name: value for name, value in values.items() if name not in given}


def join(gpus: int, environment: dict[str, str], run_dir: Path) -> None:
    """Connect to the cluster of RAY_ADDRESS, else of this machine, and wait until it has `gpus` GPUs.

    Raises UserError: no cluster answers, or it has too few GPUs.
    """
    import ray

    address = os.environ.get("RAY_ADDRESS") or "auto"
    try:
        ray.init(
            address=address,
            runtime_env={
                "worker_process_setup_hook": WORKER_HOOK,
                "env_vars": worker_environment(environment),
            },
            log_to_driver=True,
        )
    except ConnectionError as error:
        raise UserError(
            f"run.ray: 'cluster': no Ray cluster answers at {address!r} ({one_line(error)}): start one, or set "
            "RAY_ADDRESS to its address"
        ) from None
    # Ray has put its own handler there, which ends the driver at once; the end of a job is to be an interruption.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _wait_for_gpus(ray, gpus, run_dir)


def _wait_for_gpus(ray: Any, gpus: int, run_dir: Path) -> None:
    deadline = time.monotonic() + NODES_TIMEOUT
    said = False
    while (found := int(ray.cluster_resources().get("GPU", 0))) < gpus:
        if not said:
            write_event(run_dir, f"waiting for {gpus} GPUs, of which the Ray cluster has {found}")
            said = True
        if time.monotonic() > deadline:
            raise UserError(
                f"the Ray cluster has {found} GPUs, but the recipe needs {gpus} (actor ranks, vLLM engines and reference "
                f"model): add nodes, or lower actor.num_gpus_per_node or vllm.num_engines (waited {NODES_TIMEOUT:.0f} s)"
            )
        time.sleep(_POLL)
    free = int(ray.available_resources().get("GPU", 0))
    if free < gpus:
        write_event(run_dir, f"waiting for {gpus} free GPUs: others use all but {free} of {found}")
