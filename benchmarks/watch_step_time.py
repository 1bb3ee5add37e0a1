"""Training's step time with and without a watcher, the training on one core and the watcher on another.

Run on an idle machine with two cores: python benchmarks/watch_step_time.py [--steps 24] [--out FILE.json]

The same training twice, pinned to core 0; the second time a watcher with vLLM evaluates the checkpoints on
core 1 as they appear, every second step, so that it is hardly ever idle. Compared is the median of timing/step_total.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from dipo_openrlhf.data.arithmetic import write_prompts
from dipo_openrlhf.quickstart.cache import cache_dir
from dipo_openrlhf.quickstart.pretrain import pretrained_model
from dipo_openrlhf.record.run_log import read_metrics

RECIPE = """\
run: {{name: timed, dir: {run_dir}, device: cpu, cpu_threads: 1}}
actor: {{model_name_or_path: {model}, adam: {{lr: 2.0e-4}}, lr_scheduler: constant}}
data: {{prompt_dataset: {prompts}, max_len: 128}}
rollout: {{batch_size: 64, n_samples_per_prompt: 8, max_new_tokens: 56, micro_batch_size: 128}}
train: {{batch_size: 512, micro_batch_size: 64}}
ckpt: {{save_steps: 2, max_num: 0}}
watch: {{enabled: false}}
"""
WARM_UP = 4  # steps


def train(folder: Path, model: Path, steps: int, watched: bool) -> list[float]:
    """Seconds of every step after the first ones."""
    run_dir = folder / "run"
    shutil.rmtree(run_dir, ignore_errors=True)
    write_prompts(folder / "prompts.jsonl", 64 * steps, 0)
    text = RECIPE.format(run_dir=run_dir, model=model, prompts=folder / "prompts.jsonl")
    (folder / "timed.yaml").write_text(text, encoding="utf-8")
    dipo = [sys.executable, "-m", "dipo_openrlhf.cli"]
    (run_dir / "ckpt").mkdir(parents=True)
    watcher = None
    if watched:
        command = [*dipo, "watch", str(run_dir / "ckpt"), "--suites", "arithmetic-control", "--limit", "500"]
        command += ["--max-new-tokens", "56", "--results", str(folder / "results"), "--run", "timed"]
        watcher = subprocess.Popen(
            ["taskset", "-c", "1", *command, "--with-parent"],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
        )
    try:
        subprocess.run(
            ["taskset", "-c", "0", *dipo, "train", str(folder / "timed.yaml")], check=True, timeout=3600
        )
    finally:
        if watcher is not None:
            watcher.terminate()
            watcher.wait(60)
    return [row["timing/step_total"] for row in read_metrics(run_dir)][WARM_UP:]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    model = pretrained_model(cache_dir())
    result: dict[str, Any] = {"load_before": os.getloadavg()}
    with tempfile.TemporaryDirectory(prefix="dipo_step_time_") as name:
        for watched in (False, True):
            seconds = train(Path(name), model, options.steps, watched)
            label = "with" if watched else "without"
            result[label] = {"median": statistics.median(seconds), "steps": seconds}
        result["evaluated"] = len(list(Path(name).glob("results/*/*/*/results.json")))
    result["ratio"] = result["with"]["median"] / result["without"]["median"]
    print(json.dumps(result, indent=2))
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
