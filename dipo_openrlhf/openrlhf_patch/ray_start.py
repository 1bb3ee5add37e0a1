"""The Ray of a run: one of its own, or a running cluster that it joins (`run.ray: cluster`).

A joined cluster belongs to its owner: a run brings its actors and placement groups, which Ray ends with the driver, and
never stops a raylet. The CPU changes reach every node in the runtime environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import psutil

from dipo_eval.engines.device import tools_on_path
from dipo_eval.errors import UserError, one_line
from dipo_eval.secrets.file import SECRETS_FILE, load_secrets
from dipo_openrlhf.openrlhf_patch.cpu import changes as cpu
from dipo_openrlhf.openrlhf_patch.cpu import local_ray
from dipo_openrlhf.openrlhf_patch.shared_storage import check_shared
from dipo_openrlhf.record.events import write_event
from dipo_openrlhf.record.processes import EXTENSIONS, RUN_ID

STARTS = 3
RAYLET_SECONDS = 90
RAYLET_POLL = 2
_TIMED_OUT = "timed out during startup"
WORKER_HOOK = "dipo_openrlhf.openrlhf_patch.ray_start.install"
NODES_TIMEOUT = 120.0  # seconds: nodes that are still joining
POLL_SECONDS = 1.0
CONNECT_SECONDS = 2.0
_LONGEST_ADDRESS = 300  # characters
# Set by openrlhf/cli/train_ppo_ray.py, train where it starts Ray itself, and only there.
_OPENRLHF_ENV = {
    "TOKENIZERS_PARALLELISM": "true",
    "NCCL_DEBUG": "WARN",
    "RAY_ENABLE_ZERO_COPY_TORCH_TENSORS": "1",
}
_PASSED_ON = (RUN_ID, SECRETS_FILE, EXTENSIONS)


def install() -> None:
    """In every worker: the keys file, programs, the changes of a CPU run, and the start folder's modules last."""
    keep_sigterm_blocked()
    start_folder_last()
    load_secrets()
    tools_on_path()
    cpu.install()


class _NoPaths(list[str]):
    """Takes no further path (job_config)."""

    def extend(self, paths: Iterable[str]) -> None:
        """Nothing."""


def job_config() -> dict[str, Any]:
    """For `ray.init`: workers without the folder in which the run is started as the first on their path.

    ray/_private/worker.py, connect puts it there, where a folder `datasets` or a module `random` of the user's would take
    the place of an installed one. A submitted job has its own settings, and its folder is that of its files.
    """
    if os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR"):
        return {}
    from ray.job_config import JobConfig

    config = JobConfig()
    config._py_driver_sys_path = _NoPaths()
    return {"job_config": config}


def start_folder_last() -> None:
    """An agent's own modules beside it are found all the same, after what is installed."""
    with contextlib.suppress(FileNotFoundError):  # the folder is gone
        folder = os.getcwd()
        sys.path[:] = [*(path for path in sys.path if path not in ("", folder)), folder]


def keep_sigterm_blocked() -> None:
    """Where a Slurm step has blocked SIGTERM (launchers/slurm_step.py): a process that starts another by multiprocessing
    starts a resource tracker first, and unblocks SIGTERM then. So the tracker is started here.
    """
    if signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ()):
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def set_signals() -> None:
    """The driver's: SIGINT interrupts it, and SIGTERM as well where it was started by hand.

    Where `dipo train` has started it, SIGTERM is `dipo train`'s to handle: Ray sends that of a stopped job to all of the
    job's processes, and the step is to be saved first.
    """
    # SIGINT too: a shell starts what it runs in the background, such as a job's script, with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    by_hand = RUN_ID not in os.environ
    signal.signal(signal.SIGTERM, signal.default_int_handler if by_hand else _leave_to_parent)


def _leave_to_parent(number: int, frame: FrameType | None) -> None:
    """No SIG_IGN, which Ray's processes would inherit."""


def joins_cluster() -> bool:
    """Whether `ray.init()` joins a running cluster, whose nodes are not this machine (ray/_private/worker.py, init)."""
    return bool(os.environ.get("RAY_ADDRESS")) or _answers(_address_of_this_machine())


def _address_of_this_machine() -> str:
    """What our own `ray start` has left in ray/_common/utils.py, get_ray_address_file; empty where there is none.

    /tmp/ray is one folder for all users of a machine.
    """
    folder = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    try:
        with Path(folder, "ray", "ray_current_cluster").open(encoding="utf-8") as file:
            ours = os.fstat(file.fileno()).st_uid == os.geteuid()
            return file.read(_LONGEST_ADDRESS).strip() if ours else ""
    except (OSError, UnicodeDecodeError):
        return ""


def _answers(address: str) -> bool:
    """Whether something listens at HOST:PORT: the file outlives a cluster that was killed, and a reboot."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return False
    try:
        with socket.create_connection((host, int(port)), CONNECT_SECONDS):
            return True
    except (OSError, OverflowError):
        return False


def start_on_gpus(environment: dict[str, str]) -> None:
    """As openrlhf/cli/train_ppo_ray.py, train does, which keeps a Ray that is initialised, and with our workers' hook.

    `local`: a Ray of our own, where another user's address file says something else.
    """
    start_ray(
        include_dashboard=None,
        runtime_env={"worker_process_setup_hook": WORKER_HOOK, "env_vars": worker_environment(environment)},
    )


def start_ray(**settings: Any) -> Any:
    """`ray.init(address="local", ...)`, tried up to STARTS times; what it returns.

    Ray gives its own processes 30 seconds to start (ray/_private/node.py, Node.__init__), which a busy machine can miss,
    and raises a plain Exception then. Any other is raised at once. A raylet itself gives up after 15 seconds without its
    agents' ports (ray/src/ray/util/port_persistence.cc); that is noticed, where Ray would wait for it.
    """
    os.environ.setdefault("RAY_raylet_start_wait_time_s", str(RAYLET_POLL))  # of one look for the raylet
    os.environ.setdefault("RAY_agent_register_timeout_ms", str(1000 * RAYLET_SECONDS))
    import ray

    settings = {"address": "local", "include_dashboard": False, **job_config(), **settings}
    for attempt in range(1, STARTS + 1):
        try:
            with _patient_with_a_live_raylet(), _no_api_server(settings["include_dashboard"] is False):
                return ray.init(**settings)
        except Exception as error:
            if _TIMED_OUT not in str(error) or attempt == STARTS:
                raise
            print(f"Ray did not start (attempt {attempt} of {STARTS}): {one_line(error)}", flush=True)
            ray.shutdown()
    raise AssertionError("unreachable")


def _no_api_server(absent: bool) -> contextlib.AbstractContextManager[Any]:
    """Without a dashboard it would only report Ray's usage, and Ray's start would wait for it."""
    from ray._private import services

    if not absent:
        return contextlib.nullcontext()
    return mock.patch.object(services, "start_api_server", return_value=("", None))


@contextlib.contextmanager
def _patient_with_a_live_raylet() -> Iterator[None]:
    """Ray's look for the raylet that it has started is repeated for RAYLET_SECONDS, while there is one."""
    from ray._private import services

    look = services.get_node

    def get_node(*place: Any) -> Any:
        deadline = time.monotonic() + RAYLET_SECONDS
        while True:
            try:
                return look(*place)
            except RuntimeError as error:
                if not _has_raylet():
                    raise Exception(f"{_TIMED_OUT}: its raylet has ended") from error
                if time.monotonic() > deadline:
                    raise

    services.get_node = get_node
    try:
        yield
    finally:
        services.get_node = look


def _has_raylet() -> bool:
    """Whether a child of this process is a raylet that lives."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if child.name() == "raylet" and child.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def start_simulated(gpus: int, environment: dict[str, str]) -> None:
    """A Ray of our own with simulated GPUs for a CPU run; OpenRLHF keeps a Ray that is already initialised."""
    # Settings of the caller's shell: one would join its cluster, the other contradicts the simulated GPUs.
    for name in ("RAY_ADDRESS", "CUDA_VISIBLE_DEVICES"):
        os.environ.pop(name, None)
    with local_ray.commands():
        start_ray(
            num_gpus=gpus,
            num_cpus=2 * gpus + 4,
            object_store_memory=512 * 1024**2,
            log_to_driver=True,
            runtime_env={"worker_process_setup_hook": WORKER_HOOK, "env_vars": environment},
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


def join_cluster(
    gpus: int, environment: dict[str, str], run_dir: Path, folders: dict[str, str], files: dict[str, str]
) -> None:
    """Connect to the cluster of RAY_ADDRESS, else of this machine, and wait until it has `gpus` GPUs.

    folders, files: as check_shared. Raises UserError: no cluster answers, it has too few GPUs, or not every node sees
    the run's files.
    """
    import ray

    address = os.environ.get("RAY_ADDRESS") or "auto"
    runtime_env = {"worker_process_setup_hook": WORKER_HOOK, "env_vars": worker_environment(environment)}
    try:
        ray.init(address=address, runtime_env=runtime_env, log_to_driver=True, **job_config())
    except ConnectionError as error:
        raise UserError(
            f"run.ray: 'cluster': no Ray cluster answers at {address!r} ({one_line(error)}): start one, or set "
            "RAY_ADDRESS to its address"
        ) from None
    wait_for_gpus(ray, gpus, run_dir)
    check_shared(ray, folders, files)


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
