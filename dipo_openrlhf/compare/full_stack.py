"""One run of a comparison on the full stack: `dipo train` with Ray, vLLM and DeepSpeed, stopped at its budget of tokens.

The steps are those of the run's own metrics; the starting and the final model are evaluated by the same code, problems
and random numbers as runs in process. Pairing is by `train.seed`, from which OpenRLHF draws the order of the prompts.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from dipo_eval.errors import UserError
from dipo_eval.files.step_log import StepFollower
from dipo_eval.subject.marker import complete_checkpoints
from dipo_openrlhf.compare.cell import PROMPTS_SEED, Cell, Trained, measured
from dipo_openrlhf.compare.held_out import Scores
from dipo_openrlhf.compare.tasks import task_named
from dipo_openrlhf.record.stop_request import StopRequest, ask_to_stop

POLL_SECONDS = 0.5
START_TIMEOUT, STEP_TIMEOUT = 900.0, 600.0
"""Seconds without a new step after which a run is ended."""
TOLD = {  # metrics.jsonl -> the names of a run in process
    "reward": "accuracy",
    "entropy": "entropy",
    "response_length": "response_tokens",
    "dipo/zero_gradient_share": "zero_gradient_share",
}


def run_on_full_stack(cell: Cell, model_dir: Path, folder: Path) -> Trained:
    """Train in `folder` and evaluate. Raises UserError where the training ends before its budget."""
    started = time.perf_counter()
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed: it saves nothing before its end
    folder.mkdir(parents=True)
    recipe = write_recipe(cell, model_dir, folder)
    words = [sys.executable, "-P", "-m", "dipo_openrlhf.cli", "train", str(recipe)]
    with (
        (folder / "train.log").open("ab") as log,
        _ended(
            subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        ) as process,
    ):
        steps = follow(process, folder / "run", cell)
    if not steps or steps[-1]["tokens"] < cell.budget_tokens:
        raise UserError(
            f"{folder / 'train.log'}: the training ended before its budget ({_last_line(folder)})"
        )
    final = complete_checkpoints(folder / "run" / "ckpt")[-1].hf_path
    evaluations: list[tuple[int, Scores]] = [
        (0, measured(cell, model_dir)),
        (int(steps[-1]["tokens"]), measured(cell, final)),
    ]
    return Trained(steps, evaluations, time.perf_counter() - started)


def write_recipe(cell: Cell, model_dir: Path, folder: Path) -> Path:
    """The prompts and the recipe of a run; enough prompts for its budget, whatever a method throws away."""
    task, size = task_named(cell.task), cell.train
    a_step = size["prompts_per_step"] * size["n_samples_per_prompt"]
    problems = task.problems("train", size["prompts"], PROMPTS_SEED)
    rows = [
        {"input": list(one.messages), "label": one.label, "datasource": cell.task, "id": one.id}
        for one in problems
    ]
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    shortest = 4  # tokens of a response, on average, at least
    most_steps = math.ceil(cell.budget_tokens / (a_step * shortest))
    recipe = {
        "run": {"name": f"{cell.entry.name}-{cell.seed}", "dir": str(folder / "run"), "device": "cpu"},
        "dipo": cell.entry.dipo.to_dict(),
        "actor": {
            "model_name_or_path": str(model_dir),
            "adam": {"lr": cell.lr},
            "lr_scheduler": "constant",
            "max_norm": 1.0,
        },
        "reward": {"remote_url": task.reward},
        "data": {"prompt_dataset": str(prompts), "max_len": _context(model_dir)},
        "rollout": {
            "batch_size": size["prompts_per_step"],
            "n_samples_per_prompt": size["n_samples_per_prompt"],
            "max_new_tokens": task.max_new_tokens,
            "temperature": size["temperature"],
            "micro_batch_size": math.gcd(128, a_step),
        },
        "train": {
            "batch_size": a_step // size["mini_batches"],
            "micro_batch_size": math.gcd(64, a_step // size["mini_batches"]),
            "seed": cell.seed,
            "num_episodes": math.ceil(most_steps * size["prompts_per_step"] / size["prompts"]),
        },
        "ckpt": {"save_steps": 1_000_000},
        "watch": {"enabled": False},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return path


def follow(process: subprocess.Popen[bytes], run_dir: Path, cell: Cell) -> list[dict[str, Any]]:
    """The steps until the budget is spent; then the run is asked to stop, and its end is waited for."""
    follower = StepFollower(run_dir / "metrics.jsonl")
    last, asked = time.monotonic(), False
    while process.poll() is None:
        for _ in follower.new_rows():
            last = time.monotonic()
        steps = told(follower.rows, cell)
        if not asked and steps and steps[-1]["tokens"] >= cell.budget_tokens:
            ask_to_stop(run_dir, StopRequest("the budget of tokens is spent"))
            asked = True
        if time.monotonic() - last > (STEP_TIMEOUT if steps else START_TIMEOUT):
            raise UserError(f"{run_dir}: no step for {time.monotonic() - last:.0f} s; its log says why")
        time.sleep(POLL_SECONDS)
    list(follower.new_rows())
    return told(follower.rows, cell)


def told(rows: list[dict[str, Any]], cell: Cell) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl as steps of a run in process, up to the one that reaches the budget."""
    steps: list[dict[str, Any]] = []
    tokens = 0
    for row in rows:
        generated = row.get("throughput/generated_tokens")
        if not isinstance(generated, (int, float)):
            continue
        tokens += int(generated)
        named = {name: row[key] for key, name in TOLD.items() if key in row}
        steps.append({**row, **named, **_counts(row, cell), "tokens": float(tokens)})
        if tokens >= cell.budget_tokens:
            break
    return steps


def _counts(row: dict[str, Any], cell: Cell) -> dict[str, float]:
    """Responses of the step that were trained, and all that were sampled for it."""
    size = cell.train["n_samples_per_prompt"]
    groups = sum(float(row.get(f"dipo/groups_{kind}", 0)) for kind in ("hard", "easy", "normal"))
    return {
        "responses": size * groups,
        "sampled_responses": size * float(row.get("refill/groups_sampled", groups)),
    }


def _context(model_dir: Path) -> int:
    config = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
    return int(config["max_position_embeddings"])


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The process, which has ended when this ends: a run that is left behind would hold Ray's processes."""
    try:
        yield process
    finally:
        for number, seconds in ((signal.SIGINT, 60), (signal.SIGKILL, 10)):
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(seconds)


def _last_line(folder: Path) -> str:
    lines = (folder / "train.log").read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "it said nothing")
