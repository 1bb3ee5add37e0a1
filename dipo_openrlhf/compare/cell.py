"""One run of a comparison: a method, a seed and a task, trained in this process to its budget of generated tokens.

What pairs the methods: the seed alone decides which prompts come in which order and how the starting model is evaluated,
and the held-out problems are the same for all.
"""

from __future__ import annotations

import functools
import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from dipo_eval import grading
from dipo_openrlhf import algorithm
from dipo_openrlhf.algorithm.reference import ReferenceConfig, train
from dipo_openrlhf.compare.held_out import Scores, evaluate
from dipo_openrlhf.compare.spec import Comparison, Entry
from dipo_openrlhf.compare.tasks import Task, task_named

PROMPTS_SEED, ITEMS_SEED = 0, 1
"""Of the problems: all seeds of training have the same."""


@functools.cache
def code_hash() -> str:
    """Of what decides a run's numbers: the algorithm, the tasks, the evaluation, grading, and torch's version."""
    here = Path(__file__).parent
    files = [Path(__file__), here / "held_out.py", *here.glob("tasks/*.py")]
    files += [
        file for package in (algorithm, grading) for file in Path(str(package.__file__)).parent.rglob("*.py")
    ]
    digest = hashlib.sha256(torch.__version__.encode())
    for content in sorted(path.read_bytes() for path in files):
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Cell:
    """What one run is: everything that changes its numbers. budget and limits in tokens.

    tuning: it is evaluated on as many other held-out problems, so that no option is chosen on those that are reported.
    """

    task: str
    entry: Entry
    seed: int
    lr: float
    budget_tokens: int
    train: dict[str, Any]
    evaluate: dict[str, Any]
    model: str
    stack: str
    tuning: bool = False

    @property
    def identity(self) -> str:
        """Sixteen hexadecimal digits that change with any setting, and with the code that decides the numbers."""
        text = json.dumps({"code": code_hash(), **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def cell_of(
    comparison: Comparison, task: str, entry: Entry, seed: int, model: str, tuning: bool = False
) -> Cell:
    """The run of one entry. model: the cache key of the starting model, part of the identity."""
    return Cell(
        task,
        entry,
        seed,
        entry.lr or comparison.train.lr,
        comparison.budget_tokens,
        comparison.train.model_dump(exclude={"lr"}),
        comparison.evaluate.model_dump(),
        model,
        comparison.stack,
        tuning,
    )


@dataclass(frozen=True)
class Trained:
    """What a run leaves. steps: metrics of each step, with `tokens` generated so far. evaluations: (tokens, scores)."""

    steps: list[dict[str, Any]]
    evaluations: list[tuple[int, Scores]]
    seconds: float


def run_cell(cell: Cell, model_dir: Path) -> Trained:
    """Train and evaluate. The same cell gives the same numbers on one machine with one thread."""
    started = time.perf_counter()
    torch.manual_seed(cell.seed)
    task, size = task_named(cell.task), cell.train
    model, tokenizer = load_model(model_dir)
    problems = task.problems("train", size["prompts"], PROMPTS_SEED)
    config = ReferenceConfig(
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dipo=cell.entry.dipo,
        budget_tokens=cell.budget_tokens,
        prompts_per_step=size["prompts_per_step"],
        n_samples_per_prompt=size["n_samples_per_prompt"],
        mini_batches=size["mini_batches"],
        temperature=size["temperature"],
        max_new_tokens=task.max_new_tokens,
        lr=cell.lr,
        seed=cell.seed,
    )
    grade = _grader(task, tokenizer)

    def measure() -> Scores:
        return _measured(cell, model, tokenizer)

    evaluations, steps = [(0, measure())], []
    due = [cell.budget_tokens * (i + 1) / cell.evaluate["times"] for i in range(cell.evaluate["times"])]
    prompts = [_prompt(tokenizer, problem.messages) for problem in problems]
    labels = [problem.label for problem in problems]
    for metrics in train(model, prompts, lambda i, tokens: grade(tuple(tokens), labels[i]), config):
        steps.append(dict(metrics))
        tokens = int(metrics["tokens"])
        if tokens >= due[0] and tokens < cell.budget_tokens:
            due = [one for one in due if one > tokens]
            evaluations.append((tokens, measure()))
    evaluations.append((int(steps[-1]["tokens"]) if steps else 0, measure()))
    return Trained(steps, evaluations, time.perf_counter() - started)


def measured(cell: Cell, model_dir: Path) -> Scores:
    """A model on the held-out problems, as every run is evaluated."""
    return _measured(cell, *load_model(model_dir))


def _measured(cell: Cell, model: Any, tokenizer: Any) -> Scores:
    task = task_named(cell.task)
    items = cell.evaluate["items"]
    first = items if cell.tuning else 0
    held_out = task.problems("test", first + items, ITEMS_SEED)[first:]
    return evaluate(model, tokenizer, task, held_out, cell.evaluate, cell.seed)


def load_model(model_dir: Path) -> tuple[Any, Any]:
    """(model in float32, tokenizer) of a folder."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(model_dir)


def _prompt(tokenizer: Any, messages: tuple[dict[str, str], ...]) -> list[int]:
    return list(tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=False))


def _grader(task: Task, tokenizer: Any) -> Any:
    @functools.lru_cache(100_000)
    def grade(tokens: tuple[int, ...], label: str) -> float:
        return task.grade(tokenizer.decode(list(tokens), skip_special_tokens=True), label).score

    return grade
