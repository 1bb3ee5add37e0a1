"""Speed and memory of the threshold search and of one complete DiPO step, on one core.

Run: python benchmarks/threshold.py [--repeats 7] [--out FILE.json]
"""

from __future__ import annotations

import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import command, header, machine, row, save

from dipo_openrlhf.algorithm import DipoConfig, PerplexityQueue, dipo_advantages, find_threshold
from dipo_openrlhf.algorithm.config import Interval

SIZES = (1_024, 16_384, 131_072, 1_000_000)
INTERVALS: tuple[Interval, ...] = ("wilson", "wald", "cluster")
TARGETS_MS = {16_384: 5.0, 1_000_000: 500.0}


def pairs(size: int, samples: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(log_ppl, correct, group)[size], correct answers lower by 0.3 on a spread of 0.3."""
    generator = torch.Generator().manual_seed(0)
    correct = torch.rand(size, generator=generator) < 0.5
    log_ppl = torch.randn(size, generator=generator) * 0.3 + torch.where(correct, 0.5, 0.8)
    return log_ppl, correct, torch.arange(size) // samples


def measure(what: str, size: int, work: Callable[[], object], repeats: int) -> dict[str, Any]:
    """Milliseconds of `work` on one thread: processor time, least disturbed by other load, and wall."""
    processor, wall = [], []
    for _ in range(repeats):
        wall_start, start = time.perf_counter(), time.process_time()
        work()
        processor.append((time.process_time() - start) * 1e3)
        wall.append((time.perf_counter() - wall_start) * 1e3)
    target = TARGETS_MS.get(size) if what.startswith("find_threshold") else None
    found = {
        "what": what,
        "pairs": size,
        "best_cpu_ms": round(min(processor), 3),
        "median_cpu_ms": round(statistics.median(processor), 3),
        "best_wall_ms": round(min(wall), 3),
        "target_ms": target,
        "met": None if target is None else min(processor) < target,
    }
    row("" if value is None else value for value in found.values())
    return found


def threshold_rows(repeats: int) -> Iterator[dict[str, Any]]:
    for size in SIZES:
        log_ppl, correct, group = pairs(size)
        for interval in INTERVALS:
            search = partial(find_threshold, log_ppl, correct, interval=interval, group=group)
            yield measure(f"find_threshold, {interval}", size, search, repeats)


def step_rows(repeats: int) -> Iterator[dict[str, Any]]:
    """A complete step, 512 prompts of 8 and 16, with the queue full; a third of the groups extreme."""
    for samples in (8, 16):
        log_ppl, correct, _ = pairs(512 * samples, samples)
        p, b = log_ppl.reshape(512, samples), correct.reshape(512, samples).clone()
        b[:90], b[90:180] = False, True
        queue = PerplexityQueue(2)
        step = partial(dipo_advantages, b.float(), b, p, DipoConfig(), queue)
        step()
        step()  # the queue is full: two batches
        yield measure(f"dipo_advantages, 512 x {samples}", len(queue), step, repeats)


def main(repeats: int = 7, out: Path | None = None) -> None:
    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    header("milliseconds", "pairs", "best CPU", "median CPU", "best wall", "target of best CPU", "met")
    rows = [*threshold_rows(repeats), *step_rows(repeats)]
    grown = round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, 1)
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    where = f"{machine()}, torch {torch.__version__}, one thread, load average {load}"
    print(f"peak memory grew by {grown} MiB; {where}")
    save(out, {"machine": where, "rows": rows, "peak_memory_growth_mib": grown})


if __name__ == "__main__":
    command(main, __doc__)
