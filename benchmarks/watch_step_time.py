"""Training's step time with and without a watcher, the training on one core and the watcher on another.

Run on an idle machine with two cores: python benchmarks/watch_step_time.py [--steps 24] [--out FILE.json]

The same training twice, pinned to core 0; the second time a watcher with vLLM evaluates the checkpoints on
core 1 as they appear, every second step, so that it is hardly ever idle. Compared is the median of timing/step_total.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from common import DIPO, command, save, write_recipe

from dipo_openrlhf.record.run_log import read_metrics

WARM_UP = 4  # steps


def train(folder: Path, steps: int, watched: bool) -> list[float]:
    """Seconds of every step after the first ones."""
    run_dir = folder / "run"
    shutil.rmtree(run_dir, ignore_errors=True)
    recipe = write_recipe(
        folder, 64 * steps, run={"cpu_threads": 1}, watch={"enabled": False},
        rollout={"batch_size": 64, "n_samples_per_prompt": 8, "max_new_tokens": 56, "micro_batch_size": 128},
        train={"batch_size": 512, "micro_batch_size": 64}, ckpt={"save_steps": 2, "max_num": 0},
    )  # fmt: skip
    (run_dir / "ckpt").mkdir(parents=True)
    watcher = None
    if watched:
        watch = [*DIPO, "watch", str(run_dir / "ckpt"), "--suites", "arithmetic-control", "--limit", "500"]
        watch += ["--max-new-tokens", "56", "--results", str(folder / "results"), "--with-parent"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        watcher = subprocess.Popen(["taskset", "-c", "1", *watch], env=environment, stdin=subprocess.PIPE)
    try:
        subprocess.run(["taskset", "-c", "0", *DIPO, "train", str(recipe)], check=True, timeout=3600)
    finally:
        if watcher is not None:
            watcher.terminate()
            watcher.wait(60)
    return [row["timing/step_total"] for row in read_metrics(run_dir)][WARM_UP:]


def main(steps: int = 24, out: Path | None = None) -> None:
    result: dict[str, Any] = {"load_before": os.getloadavg()}
    with tempfile.TemporaryDirectory(prefix="dipo_step_time_") as name:
        for watched in (False, True):
            seconds = train(Path(name), steps, watched)
            label = "with" if watched else "without"
            result[label] = {"median": statistics.median(seconds), "steps": seconds}
        result["evaluated"] = len(list(Path(name).glob("results/*/*/*/results.json")))
    result["ratio"] = result["with"]["median"] / result["without"]["median"]
    print(json.dumps(result, indent=2))
    save(out, result)


if __name__ == "__main__":
    command(main, __doc__)
