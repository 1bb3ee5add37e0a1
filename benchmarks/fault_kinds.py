"""What faults.py breaks: processes by role, a disk, a network link."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from fault_places import Place
    from fault_runs import FaultRun

NETWORK = "network"
KINDS = ("driver", "trainer", "actor", "engine", "watcher", "raylet", "gcs", "disk", NETWORK)
DISK_BYTES = 400 * 1024**2

# By role: words of the command line, which for a Ray worker is the title that Ray gives it.
_ROLES: dict[str, Callable[[str], bool]] = {
    "driver": lambda title: "dipo_openrlhf.openrlhf_patch.driver" in title,
    # Its three actors where sampling goes on meanwhile: trainer, training actor and generator.
    "trainer": lambda title: "ray::DiPOTrain" in title or "ray::DiPOGenerator" in title,
    "actor": lambda title: "ray::DiPOPolicyActor" in title,
    "engine": lambda title: "ray::SeededEngine" in title,
    "watcher": lambda title: "dipo_openrlhf.cli watch" in title or "dipo_eval.watch" in title,
    "raylet": lambda title: "/raylet/raylet" in title,
    "gcs": lambda title: "gcs_server" in title,
}


class Disk:
    """A small file system for the checkpoints."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Disk:
        self.path.mkdir(parents=True)
        options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(self.path)]
        subprocess.run(["mount", *options], check=True, capture_output=True, timeout=30)
        return self

    def __exit__(self, *unused: object) -> None:
        subprocess.run(["umount", "-l", str(self.path)], check=False, capture_output=True, timeout=30)

    def fill(self) -> None:
        """Use up all free space."""
        with open(self.path / "filler", "wb") as file:
            try:
                while True:
                    file.write(b"\0" * 65_536)
                    file.flush()
            except OSError:
                return

    def empty(self) -> None:
        """Free the space again."""
        (self.path / "filler").unlink(missing_ok=True)


def processes_by_role(role: str, processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those of `processes` that play a role."""
    found = []
    for process in processes:
        try:
            if _ROLES[role](" ".join(process.cmdline())):
                found.append(process)
        except psutil.Error:
            continue
    return found


def strike(kind: str, run: FaultRun, disk: Disk, place: Place, rng: random.Random) -> str:
    """Break something now. Returns what, or "" if there was nothing to break."""
    if kind == NETWORK:
        place.cut()
        return "link down"
    if kind == "disk":
        disk.fill()
        return "disk filled"
    deadline = time.monotonic() + 60  # the role may not have begun yet
    while time.monotonic() < deadline and run.is_running():
        if found := processes_by_role(kind, run.processes()):
            victim = rng.choice(found)
            title = " ".join(victim.cmdline())[:60]
            os.kill(victim.pid, 9)
            return title
        time.sleep(0.2)
    return ""
