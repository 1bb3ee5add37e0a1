"""What a GPU machine must have, one line each: before `make gpu` installs anything, in `dipo doctor` and in `dipo train`.

    python -m dipo_openrlhf.estimate.gpu_checks VENV [--no-flash-attn]     of `make gpu`; status 1: something is missing
    python -m dipo_openrlhf.estimate.gpu_checks --jobs                     how many compilers fit in memory

Runs with Python alone: imports nothing but the standard library and machine.py.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from dipo_openrlhf.estimate.machine import Machine, free_disk

DRIVER = 580  # the first that runs CUDA 13 (NVIDIA, CUDA Compatibility: minimum driver of CUDA 13.x)
CUDA = 13  # of the torch in requirements/gpu.txt
DISK = 25  # GiB: 4.2 GB of packages, unpacked, and flash-attn's build
# One nvcc of its build takes 8 to 9 GB, flash-attn says itself.
JOB_MEMORY = 9.0
SHARED_MEMORY = (
    2.0  # GiB a GPU: NCCL's and vLLM's rings between processes; Docker's default of 64 MiB holds none
)


@dataclass(frozen=True)
class Check:
    """One line. `remedy`: what to do where it is not `ok`; `required`: whether nothing starts without it."""

    name: str
    ok: bool
    found: str
    remedy: str = ""
    required: bool = True

    def __str__(self) -> str:
        return f"{self.name}: {self.found}" + ("" if self.ok else f": {self.remedy}")


def driver(machine: Machine) -> Check:
    """The kernel's side of CUDA."""
    version = machine.driver()
    found = version or ("no driver answers" if machine.devices() else "no NVIDIA device (/dev/nvidia0)")
    remedy = f"install NVIDIA driver {DRIVER} or newer, which CUDA {CUDA} needs"
    if not version and machine.devices():
        remedy += "; in a container, start it with NVIDIA's runtime (--gpus all)"
    elif not version:
        remedy = "run it on a machine with a GPU, or use the CPU environment (make setup, .venv)"
    return Check("driver", bool(version) and int(version.split(".")[0]) >= DRIVER, found, remedy)


def gpus(machine: Machine) -> Check:
    """Their number, memory and MIG mode."""
    found = machine.gpus()
    if not found:
        return Check("GPUs", False, "nvidia-smi shows none", "nvidia-smi must be on PATH and list them")
    least = min(each.memory for each in found)
    size = f"{least:.0f} GiB" if least else "no memory of its own stated"
    text = f"{len(found)} x {found[0].name}, {size}"
    if any(each.is_split for each in found):
        remedy = "switch it off with nvidia-smi -mig 0: NCCL joins no two instances of one GPU"
        return Check("GPUs", False, f"{text}, split by MIG", remedy)
    return Check("GPUs", True, text)


def nvcc(machine: Machine, why: str, required: bool = True) -> Check:
    """`why`: what compiles CUDA here."""
    release = machine.nvcc()
    remedy = f"install the CUDA {CUDA} toolkit (nvcc) or set CUDA_HOME, for {why}"
    return Check("nvcc", release.startswith(f"{CUDA}."), release or "not found", remedy, required)


def compiler(machine: Machine) -> Check:
    """Triton compiles C at run time, torch.compile C++: vLLM uses both."""
    cc, cxx = machine.program("cc", "gcc", "clang"), machine.program("c++", "g++", "clang++")
    found = ", ".join(filter(None, (cc, cxx))) or "none"
    return Check(
        "C and C++ compiler", bool(cc and cxx), found, "install gcc and g++ (apt install build-essential)"
    )


def python_headers(machine: Machine) -> Check:
    """Triton's launchers include Python.h."""
    found = machine.python_headers()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    remedy = f"install Python's headers (apt install python{version}-dev), which Triton compiles against"
    return Check("Python.h", bool(found), found or "not found", remedy)


def disk(folder: Path) -> Check:
    """For the installation in `folder`."""
    free = free_disk(folder)
    remedy = f"{DISK} GiB are needed: free some, or name another place with make gpu GPU_VENV=FOLDER"
    return Check("disk", free >= DISK, f"{free:.0f} GiB free at {folder}", remedy)


def ninja(machine: Machine) -> Check:
    """What builds run on: DeepSpeed's, FlashInfer's."""
    found = machine.program("ninja")
    remedy = "call .venv-gpu/bin/dipo by its path or activate .venv-gpu: ninja is beside it"
    return Check("ninja", bool(found), found or "not on PATH", remedy)


def shared_memory(machine: Machine) -> Check:
    """/dev/shm."""
    size, need = machine.shared_memory(), SHARED_MEMORY * max(1, len(machine.gpus()))
    remedy = (
        f"{need:.0f} GiB are needed by NCCL and vLLM: docker run --shm-size, or an emptyDir of medium Memory"
    )
    return Check("/dev/shm", size >= need, f"{size:.1f} GiB", remedy)


def host_memory(machine: Machine, need: float, asleep: float, recipe: str) -> Check:
    """`need`: GiB of this host by the recipe's estimate, of which `asleep` sleep there.

    What processes take is assumed, not computed: it is required alone that what sleeps fits.
    """
    size = machine.memory()
    found = f"{size:.0f} GiB; {need:.0f} needed, {asleep:.0f} of them for what sleeps"
    remedy = (
        f"{recipe} takes {need:.0f} GiB of each host (dipo doctor RECIPE shows the parts): use more nodes, or set "
        "ds.enable_sleep: false"
    )
    return Check("host memory", size >= need, found, remedy, required=size < asleep)


def to_install(machine: Machine, venv: Path, flash_attn: bool) -> list[Check]:
    """What `make gpu` needs before it downloads anything."""
    checks = [driver(machine), compiler(machine), python_headers(machine), disk(venv)]
    if flash_attn:
        why = "flash-attn, which is compiled here; without it: DIPO_FLASH_ATTN=no make gpu (docs/gpu.md)"
        checks.insert(1, nvcc(machine, why))
    return checks


def jobs(machine: Machine) -> int:
    """Compilers at once for flash-attn's build."""
    return max(1, min(len(os.sched_getaffinity(0)), int(machine.available_memory() / JOB_MEMORY)))


def main(arguments: list[str]) -> int:
    """See the module's text."""
    machine = Machine()
    if arguments == ["--jobs"]:
        print(jobs(machine))
        return 0
    missing = [each for each in to_install(machine, Path(arguments[0]), len(arguments) == 1) if not each.ok]
    for each in missing:
        print(f"missing: {each}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
