"""A watcher as a Ray task with resources of its own.

    python -m dipo_openrlhf.run.watcher_on_ray FILE  FILE: {"command": [...], "run_dir": ..., "num_gpus": 1, ...}

It joins the training's cluster (RAY_ADDRESS, else the one of this machine) once the training has its models in place:
an earlier task could take the GPU that the training is waiting for. Where no GPU is free the task waits in Ray's queue
and gets one when the training ends. Its end closes the watcher's standard input, which ends the watcher
(`--with-parent`).
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from dipo_eval.errors import one_line
from dipo_eval.files.processes import end_with_parent, start_session
from dipo_eval.secrets.file import SECRETS_FILE, load_secrets
from dipo_openrlhf.record.events import TRAINING, read_events

_POLL = 1.0
_NO_CLUSTER = 3


def run_command(command: list[str], log: str, environment: dict[str, str]) -> int:
    """In the Ray worker: run the watcher to its end and return its status."""
    os.environ.update({name: environment[name] for name in (SECRETS_FILE,) if name in environment})
    load_secrets()
    process = start_session(command, Path(log), environment)
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            process.terminate()


def wait_for_training(run_dir: Path) -> bool:
    """Wait until the training is past its start. False where it ended before."""
    while True:
        stages = [event["stage"] for event in read_events(run_dir)]
        if TRAINING in stages:
            return True
        if any(stage in ("failed", "interrupted", "done") for stage in stages):
            return False
        time.sleep(_POLL)


def run_as_task(task: dict[str, Any]) -> int:
    """Submit the watcher and wait for it; its exit status. Raises what Ray raises."""
    import ray

    ray.init(
        address=os.environ.get("RAY_ADDRESS", "auto"),
        log_to_driver=False,
        namespace="dipo_watch",
        logging_level=logging.ERROR,
    )
    remote = ray.remote(run_command).options(
        num_gpus=task["num_gpus"], num_cpus=task["num_cpus"], max_retries=0, name="dipo watch"
    )
    names = (SECRETS_FILE, "DIPO_RUN_ID", "DIPO_DATA_DIR", "DIPO_CACHE_DIR", "WANDB_MODE", "PYTHONPATH")
    environment = {name: os.environ[name] for name in names if name in os.environ}
    reference = remote.remote(task["command"], task["log"], environment)
    print(f"requested from Ray: {task['num_gpus']} GPUs and {task['num_cpus']} CPUs", flush=True)
    try:
        while not ray.wait([reference], timeout=_POLL)[0]:
            pass
        return int(ray.get(reference))
    except KeyboardInterrupt:
        ray.cancel(reference, force=True)
        raise
    finally:
        ray.shutdown()


def main(path: str) -> int:
    """The watcher's status; 3 where there is no cluster, or it ended first; 130 when interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        end_with_parent()
        task = json.loads(Path(path).read_text(encoding="utf-8"))
        return run_as_task(task) if wait_for_training(Path(task["run_dir"])) else _NO_CLUSTER
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        # No cluster, or one that went away with the training: `dipo train` evaluates the rest.
        print(f"Ray: {one_line(error)}", flush=True)
        return _NO_CLUSTER


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
