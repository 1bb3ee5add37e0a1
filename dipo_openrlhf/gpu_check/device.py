"""What one GPU does by itself: its memory, and the bandwidths that the estimate of a step starts from."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dipo_openrlhf.gpu_check.settings import CheckSettings

REPEATS = 10
COPIED = {False: 2**32, True: 2**28}  # bytes, by whether it runs on CPU


def device_file(settings: CheckSettings) -> Path:
    """{"memory_gib", "bandwidth_tbs", "host_gbs"}; on CPU the bandwidth of its memory alone."""
    return settings.root / "device.json"


def write_device(settings: CheckSettings) -> None:
    text = json.dumps(measure(settings.cpu), indent=2) + "\n"
    device_file(settings).write_text(text, encoding="utf-8")


def measure(cpu: bool) -> dict[str, float]:
    """memory_gib: of the GPU. bandwidth_tbs: reading and writing its memory. host_gbs: to and from pinned host memory."""
    import torch

    device = torch.device("cpu" if cpu else "cuda:0")
    wait: Callable[[], Any] = (lambda: None) if cpu else torch.cuda.synchronize
    size = COPIED[cpu]
    here = torch.empty(size, dtype=torch.uint8, device=device)
    other = torch.zeros(size, dtype=torch.uint8, device=device)
    found = {"bandwidth_tbs": 2 * size / _fastest(lambda: here.copy_(other), wait) / 1e12}
    if not cpu:
        host = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        seconds = _fastest(lambda: here.copy_(host, non_blocking=True), wait)
        seconds += _fastest(lambda: host.copy_(here, non_blocking=True), wait)
        found["host_gbs"] = 2 * size / seconds / 1e9
        found["memory_gib"] = torch.cuda.get_device_properties(0).total_memory / 2**30
    return found


def _fastest(work: Callable[[], Any], wait: Callable[[], Any]) -> float:
    times = []
    for _ in range(REPEATS):
        wait()
        started = time.perf_counter()
        work()
        wait()
        times.append(time.perf_counter() - started)
    return min(times)
