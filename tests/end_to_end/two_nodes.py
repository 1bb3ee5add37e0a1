"""A real Ray cluster of two nodes on this machine: two raylets with addresses and workers of their own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from stack import MARK

from dipo_openrlhf.record.processes import processes_of

HEAD, WORKER = "127.0.0.2", "127.0.0.3"
START_LIMIT = 240  # seconds for one `ray start`
ATTEMPTS = 3  # a raylet gives its agent 15 s to start, which a busy machine can miss
_CPUS, _STORE = 8, 200 * 1024**2


@dataclass(frozen=True)
class Cluster:
    """`address`: of the job server. `temp`: Ray's own files, all of its logs among them."""

    address: str
    temp: Path
    mark: str

    def state(self, what: str) -> list[dict[str, Any]]:
        """What Ray's state API lists: actors, placement_groups, nodes."""
        query = f"{self.address}/api/v0/{what}?detail=1&limit=1000"
        with urllib.request.urlopen(query, timeout=60) as answer:
            rows: list[dict[str, Any]] = json.loads(answer.read())["data"]["result"]["result"]
        return rows

    def addresses(self) -> dict[str, str]:
        """Node id -> its address."""
        return {row["node_id"]: row["node_ip"] for row in self.state("nodes") if row["state"] == "ALIVE"}

    def processes(self) -> list[psutil.Process]:
        """All processes of the cluster and of its jobs."""
        return list(_with_children(processes_of(self.mark, MARK)))


def poll(condition: Callable[[], Any], limit: float, what: str) -> Any:
    """What `condition` returns once it is true. Fails after `limit` seconds, naming what was waited for."""
    deadline = time.monotonic() + limit
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {limit:.0f} s"
        time.sleep(1)
    return value


@contextmanager
def two_nodes(gpus: int = 1) -> Iterator[Cluster]:
    """Start both nodes, with `gpus` simulated GPUs each; end every process of them in any case."""
    mark = uuid.uuid4().hex
    # Ray's sockets lie in there, and a socket's path has at most 107 characters.
    temp = Path(tempfile.mkdtemp(prefix="dipo-ray-", dir="/tmp"))
    environment = {
        **os.environ,
        MARK: mark,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": "200",
        # Ray runs workers at nice 15; on two shared cores they would hardly run at all.
        "RAY_worker_niceness": "0",
    }
    for name in ("RAY_ADDRESS", "PYTHONDONTWRITEBYTECODE", "WANDB_API_KEY"):
        environment.pop(name, None)
    try:
        port, dashboard, *agents = _free_ports(4)
        head = [
            "--head", f"--node-ip-address={HEAD}", f"--port={port}", f"--dashboard-host={HEAD}",
            f"--dashboard-port={dashboard}", f"--temp-dir={temp}", f"--dashboard-agent-listen-port={agents[0]}",
        ]  # fmt: skip
        cluster = Cluster(f"http://{HEAD}:{dashboard}", temp, mark)
        _start(
            [*head, f"--num-gpus={gpus}"],
            environment,
            cluster,
            lambda: _answers(cluster) and len(cluster.addresses()) == 1,
        )
        # With a folder of its own, as on a machine of its own: each node unpacks a job's files anew, and in a common
        # folder it would delete those in which the other's processes are.
        worker = [
            f"--address={HEAD}:{port}", f"--node-ip-address={WORKER}", f"--temp-dir={temp / 'w'}",
            f"--dashboard-agent-listen-port={agents[1]}",
        ]  # fmt: skip
        _start([*worker, f"--num-gpus={gpus}"], environment, cluster, lambda: len(cluster.addresses()) == 2)
        yield cluster
    finally:
        _end(mark)
        shutil.rmtree(temp, ignore_errors=True)


def _start(options: list[str], environment: dict[str, str], cluster: Cluster, up: Callable[[], bool]) -> None:
    ray = [str(Path(sys.executable).with_name("ray")), "start", *options, "--disable-usage-stats"]
    ray += [f"--num-cpus={_CPUS}", f"--object-store-memory={_STORE}"]
    said = ""
    for _ in range(ATTEMPTS):
        before = {process.pid for process in cluster.processes()}
        result = subprocess.run(ray, env=environment, capture_output=True, text=True, timeout=START_LIMIT)
        said = result.stdout + result.stderr
        deadline = time.monotonic() + 60
        while result.returncode == 0 and time.monotonic() < deadline:
            if up():
                return
            time.sleep(1)
        for process in cluster.processes():
            if process.pid not in before:
                with contextlib.suppress(psutil.Error):
                    process.kill()
    raise AssertionError(f"a Ray node did not come up in {ATTEMPTS} attempts: {said[-2000:]}")


def _answers(cluster: Cluster) -> bool:
    try:
        with urllib.request.urlopen(f"{cluster.address}/api/version", timeout=10) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((HEAD, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _end(mark: str) -> None:
    """Kill what carries the mark, and its children: the dashboard's overwrite their environment with their title.

    `ray stop` would end every Ray of this machine.
    """
    deadline = time.monotonic() + 60
    while (left := _with_children(processes_of(mark, MARK))) and time.monotonic() < deadline:
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=2)


def _with_children(processes: list[psutil.Process]) -> set[psutil.Process]:
    found = set(processes)
    for process in processes:
        with contextlib.suppress(psutil.Error):
            found.update(process.children(recursive=True))
    return found
