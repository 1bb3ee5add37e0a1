"""Where the runs of faults.py live: this host, or two nodes of a Ray cluster in network namespaces."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from dipo_openrlhf.record.processes import processes_of

MARK = "DIPO_FAULT_BENCHMARK"
_WIRE = ("10.77.0.1", "10.77.0.2")
_DEVICE = "dipo0"


@dataclass
class Place:
    """Where a run lives. `prefix`: put before each command; `environment`: variables added to ours."""

    prefix: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    spaces: list[str] = field(default_factory=list)
    is_cut: bool = False

    def cut(self) -> None:
        """Take the second node's link down."""
        self._link("down")
        self.is_cut = True

    def restore(self) -> None:
        """Bring the link up again and let a new node join: Ray's exits once the head has declared it dead."""
        if self.is_cut:
            self._link("up")
            join_cluster(self)
            self.is_cut = False

    def _link(self, state: str) -> None:
        ip = ["ip", "-n", self.spaces[1], "link", "set", _DEVICE, state]
        subprocess.run(ip, check=True, timeout=30)


@contextlib.contextmanager
def host() -> Iterator[Place]:
    """This host, with a Ray of the run's own."""
    yield Place()


@contextlib.contextmanager
def namespaces() -> Iterator[Place]:
    """Two nodes of a Ray cluster, each in a network namespace of its own, joined by one cable."""
    mark = uuid.uuid4().hex
    spaces = [f"dipo-{mark[:6]}-{end}" for end in ("a", "b")]
    temp = Path(tempfile.mkdtemp(prefix="dipo-ray-", dir="/tmp"))
    environment = {
        MARK: mark,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
        "GLOO_SOCKET_IFNAME": _DEVICE,
        "TP_SOCKET_IFNAME": _DEVICE,
        "VLLM_HOST_IP": "127.0.0.1",
    }
    try:
        _lay_cable(spaces)
        head = ["--head", f"--node-ip-address={_WIRE[0]}", "--port=6399", "--include-dashboard=false"]
        _start_node(spaces[0], [*head, f"--temp-dir={temp}"], environment)
        environment["RAY_ADDRESS"] = f"{_WIRE[0]}:6399"
        place = Place(["ip", "netns", "exec", spaces[0]], environment, spaces)
        join_cluster(place)
        yield place
    finally:
        _end(mark)
        for space in spaces:
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True, timeout=30)
        shutil.rmtree(temp, ignore_errors=True)


def _lay_cable(spaces: list[str]) -> None:
    one, other = spaces
    commands = [f"ip netns add {space}" for space in spaces]
    commands.append(f"ip link add {_DEVICE} netns {one} type veth peer name {_DEVICE} netns {other}")
    for space, address in zip(spaces, _WIRE, strict=True):
        commands.append(f"ip -n {space} addr add {address}/24 dev {_DEVICE}")
        commands += [f"ip -n {space} link set {device} up" for device in (_DEVICE, "lo")]
    for command in commands:
        subprocess.run(command.split(), check=True, capture_output=True, timeout=30)


def join_cluster(place: Place) -> None:
    """Start the second node; the processes of an earlier one are killed first."""
    node = ["ip", "netns", "pids", place.spaces[1]]
    for pid in subprocess.run(node, capture_output=True, text=True, check=True, timeout=30).stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), 9)
    options = [f"--address={_WIRE[0]}:6399", f"--node-ip-address={_WIRE[1]}"]
    _start_node(place.spaces[1], options, place.environment)


def _start_node(space: str, options: list[str], environment: dict[str, str]) -> None:
    ray = [str(Path(sys.executable).with_name("ray")), "start", *options, "--disable-usage-stats"]
    ray += ["--num-gpus=1", "--num-cpus=8", f"--object-store-memory={200 * 1024**2}"]
    for attempt in range(3):
        result = subprocess.run(
            ["ip", "netns", "exec", space, *ray],
            env={**os.environ, **environment}, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        if result.returncode == 0:
            return
        if attempt == 2:
            raise SystemExit(f"a Ray node did not come up in {space}: {result.stdout}{result.stderr}")


def _end(mark: str) -> None:
    deadline = time.monotonic() + 60
    while (left := processes_of(mark, MARK)) and time.monotonic() < deadline:
        for process in left:
            for each in [process, *_children(process)]:
                with contextlib.suppress(psutil.Error):
                    each.kill()
        psutil.wait_procs(left, timeout=2)


def _children(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return process.children(recursive=True)
    return []
