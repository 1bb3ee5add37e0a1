"""Run the `dipo` command as a user would, and find every process that it leaves behind."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from dipo_openrlhf.algorithm import DipoConfig, PerplexityQueue, reallocation_advantages
from dipo_openrlhf.data.arithmetic import write_prompts
from dipo_openrlhf.openrlhf_patch.observe.step import PHASES
from dipo_openrlhf.record.processes import processes_of
from dipo_openrlhf.record.run_log import read_metrics

MARK = "DIPO_TEST_MARK"
WANDB_KEY = "feedfacefeedfacefeedfacefeedfacefeedface"  # not a real key
EVALUATE = [
    "--evaluate.suites", "[arithmetic-control]", "--evaluate.limit", "20", "--evaluate.engine", "hf",
    "--evaluate.max_new_tokens", "48",
]  # fmt: skip
BF16_NOISE = 2**-8  # the relative step of a bfloat16 number
LIMIT = 420  # seconds a command of these tests may take on a busy machine


@dataclass
class Dipo:
    """One `dipo` command; its children inherit a mark by which they are found."""

    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path | None = None  # the current folder of the command
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    process: subprocess.Popen[str] | None = None

    def start(self) -> Dipo:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dipo_openrlhf.cli", *self.arguments],
            env={**os.environ, **self.environment, MARK: self.mark, "COLUMNS": "200"},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            # A shell starts background jobs with Ctrl-C ignored, which children inherit; a user's terminal does not.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        return self

    def finish(self, limit: float = LIMIT) -> tuple[int, str]:
        """(exit status, output). Ends everything and fails when the command outlasts `limit` seconds."""
        assert self.process is not None
        try:
            output, _ = self.process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            for process in self.left_over():
                process.kill()
            self.process.kill()
            raise
        return self.process.returncode, output

    def left_over(self) -> list[psutil.Process]:
        """Live processes of this command, but for the command itself."""
        own = self.process.pid if self.process else -1
        return [process for process in processes_of(self.mark, MARK) if process.pid != own]

    def left_over_after(self, seconds: float) -> list[psutil.Process]:
        """What is still alive once `seconds` have passed; returns as soon as nothing is."""
        deadline = time.monotonic() + seconds
        while (left := self.left_over()) and time.monotonic() < deadline:
            time.sleep(0.5)
        return left


def run_dipo(*arguments: str, limit: float = LIMIT) -> tuple[int, str]:
    return Dipo(list(arguments)).start().finish(limit)


def wait_until(condition: Any, process: subprocess.Popen[str], limit: float = LIMIT) -> None:
    """Wait for `condition()`; fails when the process ends or the time is up first."""
    deadline = time.monotonic() + limit
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "the expected state was not reached in time"
        time.sleep(0.25)


RECIPE = """\
run: {{name: tiny, dir: {run_dir}, device: cpu}}
actor:
  model_name_or_path: {model}
  adam: {{lr: 1.0e-3}}
  lr_scheduler: constant
data: {{prompt_dataset: {prompts}, max_len: 112}}
rollout: {{batch_size: 8, n_samples_per_prompt: 8, max_new_tokens: 48, micro_batch_size: 32}}
train: {{batch_size: 64, micro_batch_size: 32, num_episodes: {episodes}}}
algo.advantage.is_correction_level: token
ckpt: {{save_steps: 2, max_num: {keep}, path: {ckpt}}}
dipo: {{min_side_samples: 10}}
"""


def write_recipe(
    folder: Path, model: Path, *, steps: int = 4, keep: int = 0, ckpt: Path | None = None, episodes: int = 1
) -> tuple[Path, Path]:
    """(recipe, run folder) of a few quick steps on generated arithmetic, in `episodes` passes over the prompts."""
    folder.mkdir(parents=True, exist_ok=True)
    run_dir, prompts = folder / "run", folder / "prompts.jsonl"
    write_prompts(prompts, 8 * steps // episodes, 0)
    recipe = folder / "tiny.yaml"
    recipe.write_text(
        RECIPE.format(
            run_dir=run_dir,
            model=model,
            prompts=prompts,
            keep=keep,
            ckpt=ckpt or run_dir / "ckpt",
            episodes=episodes,
        )
    )
    return recipe, run_dir


def rollouts(run_dir: Path) -> dict[int, list[dict[str, Any]]]:
    """Groups by step; of a step logged twice the later ones count."""
    found: dict[int, dict[int, dict[str, Any]]] = {}
    for line in (run_dir / "rollouts.jsonl").read_text().splitlines():
        row = json.loads(line)
        found.setdefault(row["step"], {})[row["group"]] = row
    return {step: [groups[index] for index in sorted(groups)] for step, groups in found.items()}


def check_equal_rollouts(
    one: dict[int, list[dict[str, Any]]], other: dict[int, list[dict[str, Any]]]
) -> None:
    """Fails unless two runs saw the same prompts in order, and sampled responses of equal correctness and likelihood."""
    assert sorted(one) == sorted(other)
    for step in one:
        for group, twin in zip(one[step], other[step], strict=True):
            for key in ("prompt", "correct", "rewards", "fired"):
                assert group[key] == twin[key], (step, group["group"], key)
            assert group["log_ppl"] == pytest.approx(twin["log_ppl"], abs=BF16_NOISE)


def check_equal_steps(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    """Fails unless two runs had the same thresholds and queues, and losses that differ only by bf16's noise."""
    assert [row["step"] for row in one] == [row["step"] for row in other]
    for row, twin in zip(one, other, strict=True):
        assert row["dipo/queue_size"] == twin["dipo/queue_size"]
        assert row["rollout/response_length_mean"] == twin["rollout/response_length_mean"]
        for key in ("dipo/threshold_ppl", "policy_loss", "actor_grad_norm"):
            assert row[key] == pytest.approx(twin[key], abs=BF16_NOISE), (row["step"], key)


def check_phases(rows: list[dict[str, Any]]) -> None:
    """Fails unless every step's phases are those that are documented, add up, and leave little unexplained."""
    for row in rows:
        phases = {key: value for key, value in row.items() if key.startswith("timing/phases/")}
        assert {key.removeprefix("timing/phases/") for key in phases} == set(PHASES)
        assert min(phases.values()) >= 0
        assert sum(phases.values()) == pytest.approx(row["timing/wall"], rel=1e-6)
        assert phases["timing/phases/other"] < 0.05 * row["timing/wall"] + 0.5, phases


def check_metrics_follow(run_dir: Path, config: DipoConfig) -> None:
    """Fails unless threshold, fired groups and accuracy of every step are those of rollouts.jsonl."""
    queue = PerplexityQueue(batches=config.queue_batches)
    groups = rollouts(run_dir)
    for row in read_metrics(run_dir):
        step = groups[row["step"]]
        correct = torch.tensor([group["correct"] for group in step]).bool()
        rewards = torch.tensor([group["rewards"] for group in step])
        log_ppl = torch.tensor([[math.nan if p is None else p for p in group["log_ppl"]] for group in step])
        result = reallocation_advantages(rewards, correct, log_ppl, config, queue)
        assert row["rollout/accuracy"] == pytest.approx(correct.float().mean().item())
        assert result.fired_P.tolist() == [group["fired"] for group in step]
        for key in ("groups_hard", "fired_hard", "fired_easy", "feasible", "queue_size"):
            assert row[f"dipo/{key}"] == result.metrics[f"dipo/{key}"]
        if row["dipo/threshold_ppl"] is not None:
            assert row["dipo/threshold_ppl"] == pytest.approx(result.metrics["dipo/threshold_ppl"], rel=1e-5)
