"""Speed and memory of the threshold search and of one whole DiPO step, on one core.

Run: python benchmarks/threshold.py [--repeats 7] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from dipo_openrlhf.algorithm import DipoConfig, PerplexityQueue, dipo_advantages, find_threshold
from dipo_openrlhf.algorithm.config import Interval

SIZES = (1_024, 16_384, 131_072, 1_000_000)
INTERVALS: tuple[Interval, ...] = ("wilson", "wald", "cluster")
TARGETS_MS = {16_384: 5.0, 1_000_000: 500.0}


def pairs(size: int, samples: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(log_ppl, correct, group)[size], right answers lower by 0.3 on a spread of 0.3."""
    generator = torch.Generator().manual_seed(0)
    correct = torch.rand(size, generator=generator) < 0.5
    log_ppl = torch.randn(size, generator=generator) * 0.3 + torch.where(correct, 0.5, 0.8)
    return log_ppl, correct, torch.arange(size) // samples


def measure(work: Callable[[], object], repeats: int) -> dict[str, float]:
    """Milliseconds of `work` on one thread: processor time, least disturbed by other load, and wall."""
    processor, wall = [], []
    for _ in range(repeats):
        wall_start, start = time.perf_counter(), time.process_time()
        work()
        processor.append((time.process_time() - start) * 1e3)
        wall.append((time.perf_counter() - wall_start) * 1e3)
    return {
        "best_cpu_ms": round(min(processor), 3),
        "median_cpu_ms": round(statistics.median(processor), 3),
        "best_wall_ms": round(min(wall), 3),
    }


def threshold_rows(repeats: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for size in SIZES:
        log_ppl, correct, group = pairs(size)
        for interval in INTERVALS:

            def search(
                p: torch.Tensor = log_ppl,
                b: torch.Tensor = correct,
                ids: torch.Tensor = group,
                name: Interval = interval,
            ) -> object:
                return find_threshold(p, b, interval=name, group_N=ids)

            times = measure(search, repeats)
            target = TARGETS_MS.get(size)
            rows.append(
                {
                    "what": f"find_threshold, {interval}",
                    "pairs": size,
                    **times,
                    "target_ms": target,
                    "met": None if target is None else times["best_cpu_ms"] < target,
                }
            )
    return rows


def step_rows(repeats: int) -> list[dict[str, object]]:
    """A whole step, 512 prompts of 8 and 16, with the queue full; a third of the groups extreme."""
    rows: list[dict[str, object]] = []
    for samples in (8, 16):
        log_ppl, correct, _ = pairs(512 * samples, samples)
        p, b = log_ppl.reshape(512, samples), correct.reshape(512, samples).clone()
        b[:90], b[90:180] = False, True
        queue = PerplexityQueue(2)

        def step(p: torch.Tensor = p, b: torch.Tensor = b, queue: PerplexityQueue = queue) -> object:
            return dipo_advantages(b.float(), b, p, DipoConfig(), queue)

        step()
        step()  # the queue is full: two batches
        rows.append(
            {
                "what": f"dipo_advantages, 512 x {samples}",
                "pairs": len(queue),
                **measure(step, repeats),
                "target_ms": None,
                "met": None,
            }
        )
    return rows


def machine() -> dict[str, object]:
    return {
        "processor": _cpu_name(),
        "cores": os.cpu_count(),
        "threads_used": torch.get_num_threads(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    return names[0].split(":", 1)[1].strip() if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7, help="runs of each measurement; the best counts")
    parser.add_argument("--out", type=Path, help="also write the results there, as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = threshold_rows(arguments.repeats) + step_rows(arguments.repeats)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = {"machine": machine(), "rows": rows, "peak_memory_growth_mib": round((after - before) / 1024, 1)}
    print(f"{'milliseconds':28} {'pairs':>9} {'best CPU':>10} {'median CPU':>10} {'best wall':>10}")
    for row in rows:
        target = "" if row["target_ms"] is None else f"  target {row['target_ms']}: {row['met']}"
        times = f"{row['best_cpu_ms']:>10} {row['median_cpu_ms']:>10} {row['best_wall_ms']:>10}"
        print(f"{row['what']:28} {row['pairs']:>9} {times}{target}")
    print(f"peak memory grew by {result['peak_memory_growth_mib']} MiB; {result['machine']}")
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
