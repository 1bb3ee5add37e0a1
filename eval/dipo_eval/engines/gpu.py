"""The first GPU that this process may use, asked through NVML.

Asking torch would initialise CUDA in this process, after which no process forked from it can use a GPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

Capability = tuple[int, int]


def gpu_name() -> str | None:
    """Such as "NVIDIA H100 80GB HBM3"; None where there is no GPU, or NVML does not know it."""
    name = _ask(lambda nvml, gpu: nvml.nvmlDeviceGetName(gpu))
    return None if name is None else str(name)


def compute_capability() -> Capability | None:
    """Such as (9, 0); None where there is no GPU, or NVML does not know it (AMD's, Jetson's)."""
    found = _ask(lambda nvml, gpu: nvml.nvmlDeviceGetCudaComputeCapability(gpu))
    return None if found is None else (int(found[0]), int(found[1]))


def _ask(question: Callable[[Any, Any], Any]) -> Any:
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no package, no driver
        return None
    try:
        return question(pynvml, _first(pynvml))
    except Exception:  # a GPU that NVML cannot find or cannot describe
        return None
    finally:
        pynvml.nvmlShutdown()


def _first(nvml: Any) -> Any:
    """NVML counts all GPUs of the machine, whatever CUDA_VISIBLE_DEVICES leaves of them."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    if not first or first.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(first or 0))
    return nvml.nvmlDeviceGetHandleByUUID(first)
