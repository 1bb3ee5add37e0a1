"""What this machine has, read from its files and programs: no CUDA is initialised and nothing but Python is needed.

`make gpu` reads it before anything is installed. Figures of memory are GiB.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

GIB = 2**30
TIMEOUT = 30.0  # seconds that a program may take; nvidia-smi takes many where the driver is not persistent


@dataclass(frozen=True)
class Gpu:
    """One GPU, as nvidia-smi shows it."""

    name: str
    memory: float  # 0 where it has none of its own ([N/A]: a GPU that shares the machine's memory)
    is_split: bool  # into MIG instances


class Machine:
    """`root` stands in for / (tests); programs are found on PATH of `environment`."""

    def __init__(self, root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> None:
        self.root = root
        self.environment = environment

    def devices(self) -> int:
        """NVIDIA device nodes, whether or not a driver is behind them."""
        return len(list((self.root / "dev").glob("nvidia[0-9]*")))

    def driver(self) -> str:
        """Version of the NVIDIA driver, such as "580.65.06"; empty where none is loaded."""
        found = re.search(r"Kernel Module.*?\s(\d+\.\d[\d.]*)", self._read("proc/driver/nvidia/version"))
        if found:
            return found[1]
        rows = self._query_smi("driver_version")
        return rows[0][0] if rows and rows[0][0][:1].isdigit() else ""

    def gpus(self) -> list[Gpu]:
        """Empty where nvidia-smi is missing or fails."""
        rows = self._query_smi("name,memory.total,mig.mode.current")
        return [
            Gpu(name, float(memory) / 1024 if memory.isdecimal() else 0.0, mig == "Enabled")
            for name, memory, mig in rows
        ]

    def nvcc(self) -> str:
        """Release of the CUDA compiler, such as "13.0"; empty where there is none.

        Where torch looks for it: torch/utils/cpp_extension.py, _find_cuda_home.
        """
        home = self.environment.get("CUDA_HOME") or self.environment.get("CUDA_PATH")
        default = self.root / "usr/local/cuda/bin/nvcc"
        places = [Path(home, "bin/nvcc")] if home else [Path(self.program("nvcc") or default)]
        for place in places:
            if found := re.search(r"release (\d+\.\d+)", self._output(str(place), "--version")):
                return found[1]
        return ""

    def program(self, *names: str) -> str:
        """Path of the first of these programs that is on PATH, or nothing."""
        path = self.environment.get("PATH", "")
        return next((found for name in names if (found := shutil.which(name, path=path))), "")

    def python_headers(self) -> str:
        """Path of Python.h, or nothing."""
        header = self.root / sysconfig.get_path("include").lstrip("/") / "Python.h"
        return str(header) if header.is_file() else ""

    def memory(self) -> float:
        """Of the machine, or of its container where that has less."""
        total = re.search(r"MemTotal:\s+(\d+)", self._read("proc/meminfo"))
        return min(float(total[1]) * 1024 / GIB if total else 0.0, self._container_memory())

    def available_memory(self) -> float:
        """What programs can still take of it."""
        free = re.search(r"MemAvailable:\s+(\d+)", self._read("proc/meminfo"))
        return min(float(free[1]) * 1024 / GIB if free else 0.0, self._container_memory())

    def _container_memory(self) -> float:
        for name in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"):
            if (text := self._read(name).strip()).isdigit():
                return int(text) / GIB
        return float("inf")

    def shared_memory(self) -> float:
        """Size of /dev/shm; 0 where there is none."""
        folder = self.root / "dev/shm"
        return shutil.disk_usage(folder).total / GIB if folder.is_dir() else 0.0

    def _read(self, name: str) -> str:
        try:
            return (self.root / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def _output(self, *command: str) -> str:
        """Standard output; nothing where the program is missing, fails or hangs."""
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False,
                env=dict(self.environment),
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout if done.returncode == 0 else ""

    def _query_smi(self, columns: str) -> list[list[str]]:
        """Rows of as many cells as columns; only the first may hold a comma. What does not print is left out."""
        program = self.program("nvidia-smi")
        text = (
            self._output(program, f"--query-gpu={columns}", "--format=csv,noheader,nounits")
            if program
            else ""
        )
        commas = columns.count(",")
        lines = ["".join(filter(str.isprintable, line)) for line in text.splitlines()]
        rows = [[cell.strip() for cell in line.rsplit(",", commas)] for line in lines if line.strip()]
        return [row for row in rows if len(row) == commas + 1]


def free_disk(folder: Path) -> float:
    """GiB free where `folder` is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / GIB
