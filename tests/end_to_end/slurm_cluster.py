"""A real Slurm of two nodes on this machine: each node has a network namespace and a host name of its own.

What a user runs on a login node is run on the first, where the controller is too. Needs root, and Debian's packages
slurmctld, slurmd, slurm-client and munge.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from two_nodes import poll

ADDRESSES = {"n1": "10.78.0.1", "n2": "10.78.0.2"}
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged", "nsenter", "unshare", "ip")
GRACE = 600  # seconds that a job of the partition "all" has when one of "urgent" needs its nodes
_DEVICE = "dipo0"
_CONFIG = """\
ClusterName=dipo
SlurmctldHost=n1
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/linuxproc
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
TaskPlugin=task/none
ReturnToService=2
SlurmdTimeout=300
KillWait=30
MailProg=/bin/true
NodeName=n[1-2] CPUs={cpus}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 GraceTime={grace}
PartitionName=urgent Nodes=ALL MaxTime=INFINITE PriorityTier=2 PreemptMode=OFF
"""


def missing() -> str:
    """What this machine lacks, or an empty string."""
    if os.geteuid() != 0:
        return "network namespaces are made by root"
    return ", ".join(name for name in PROGRAMS if not shutil.which(name))


@dataclass
class Slurm:
    """`folder`: all of Slurm's own files. `nodes`: name -> network namespace."""

    folder: Path
    nodes: dict[str, str]
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def command(self, node: str, *words: str) -> list[str]:
        """`words`, to be run on a node: with its network, its host name and its /etc/hosts."""
        script = 'hostname "$1"; mount --bind "$2" /etc/hosts; shift 2; exec "$@"'
        return [
            "nsenter", f"--net=/run/netns/{self.nodes[node]}", "unshare", "--uts", "--mount",
            "bash", "-c", script, "bash", node, str(self.folder / "hosts"), *words,
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        return {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def run(self, *words: str, cwd: Path | None = None, environment: dict[str, str] | None = None) -> str:
        """Output of a command that must succeed on the login node."""
        result = subprocess.run(
            self.command("n1", *words), cwd=cwd, env={**self.environment(), **(environment or {})},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def start_daemon(self, node: str, *words: str) -> None:
        with open(self.folder / f"{words[0]}-{node}.log", "ab") as log:
            daemon = subprocess.Popen(
                self.command(node, *words),
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.daemons.append(daemon)

    def processes(self, node: str) -> list[psutil.Process]:
        """Everything that runs on a node."""
        listed = subprocess.run(
            ["ip", "netns", "pids", self.nodes[node]], capture_output=True, text=True, check=True, timeout=30
        )
        found = []
        for pid in listed.stdout.split():
            with contextlib.suppress(psutil.Error):
                found.append(psutil.Process(int(pid)))
        return found

    def lose(self, node: str) -> None:
        """A node without power: no network, no process."""
        self._link("down")
        for process in self.processes(node):
            with contextlib.suppress(psutil.Error):
                process.kill()

    def bring_back(self, node: str) -> None:
        self._link("up")
        self.start_daemon(node, "slurmd", "-D")

    def _link(self, state: str) -> None:
        subprocess.run(
            ["ip", "-n", self.nodes["n2"], "link", "set", _DEVICE, state],
            check=True,
            capture_output=True,
            timeout=30,
        )

    def job(self, number: str) -> dict[str, str]:
        """Output of `scontrol show job`."""
        words = self.run("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)


@contextlib.contextmanager
def slurm_cluster() -> Iterator[Slurm]:
    """Start it, and end all of its processes and namespaces in any case."""
    name = f"dipo-{uuid.uuid4().hex[:6]}"
    folder = Path(tempfile.mkdtemp(prefix="dipo-slurm-", dir="/tmp"))
    folder.chmod(0o711)  # munge wants to be reachable by all
    slurm = Slurm(folder, {node: f"{name}-{node}" for node in ADDRESSES})
    try:
        _write_files(folder)
        _lay_cable(slurm)
        _start_munge(slurm)
        slurm.start_daemon("n1", "slurmctld", "-D")
        for node in slurm.nodes:
            slurm.start_daemon(node, "slurmd", "-D")
        poll(lambda: _is_idle(slurm), 60, "two idle nodes of Slurm")
        yield slurm
    finally:
        _end(slurm)
        shutil.rmtree(folder, ignore_errors=True)


def _write_files(folder: Path) -> None:
    for sub in ("state", *ADDRESSES):
        (folder / sub).mkdir()
    hosts = ["127.0.0.1 localhost", *(f"{address} {node}" for node, address in ADDRESSES.items())]
    (folder / "hosts").write_text("\n".join(hosts) + "\n")
    (folder / "slurm.conf").write_text(_CONFIG.format(folder=folder, cpus=os.cpu_count(), grace=GRACE))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)


def _lay_cable(slurm: Slurm) -> None:
    spaces = list(slurm.nodes.values())
    for space in spaces:
        _ip("netns", "add", space)
    pair = ["link", "add", _DEVICE, "netns", spaces[0], "type", "veth", "peer", "name", _DEVICE]
    _ip(*pair, "netns", spaces[1])
    for space, address in zip(spaces, ADDRESSES.values(), strict=True):
        _ip("-n", space, "addr", "add", f"{address}/24", "dev", _DEVICE)
        for device in (_DEVICE, "lo"):
            _ip("-n", space, "link", "set", device, "up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)


def _start_munge(slurm: Slurm) -> None:
    options = {name: slurm.folder / f"munge.{name}" for name in ("socket", "pid", "log", "seed", "key")}
    words = ["munged", "--foreground", f"--socket={options['socket']}", f"--pid-file={options['pid']}"]
    words += [
        f"--log-file={options['log']}",
        f"--seed-file={options['seed']}",
        f"--key-file={options['key']}",
    ]
    slurm.start_daemon("n1", *words)
    poll(options["socket"].exists, 10, "munge's socket")


def _is_idle(slurm: Slurm) -> bool:
    result = subprocess.run(
        slurm.command("n1", "sinfo", "--noheader", "--format=%T %D"),
        env=slurm.environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return result.stdout.split() == ["idle", "2"]


def _end(slurm: Slurm) -> None:
    """Kill whatever lives in either namespace: jobs, steps, daemons."""
    for node in slurm.nodes:
        deadline = time.monotonic() + 30
        with contextlib.suppress(subprocess.SubprocessError):
            while (left := slurm.processes(node)) and time.monotonic() < deadline:
                for process in left:
                    with contextlib.suppress(psutil.Error):
                        process.kill()
                psutil.wait_procs(left, timeout=2)
    for daemon in slurm.daemons:
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.wait(10)
    for space in slurm.nodes.values():
        subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True, timeout=30)
